// What Go calls of MPI. Handles of any MPI travel as integers.
#ifndef CAMBIUM_MPI_SHIM_H
#define CAMBIUM_MPI_SHIM_H

#include <stdint.h>

enum { cm_byte, cm_u16, cm_i32, cm_i64, cm_f32, cm_f64 };
enum { cm_sum, cm_max, cm_min };

typedef uintptr_t cm_comm;

typedef struct {
    int32_t source, tag, error;
    int32_t bytes; // received; -1 where MPI cannot tell
} cm_status;

// One transfer that is posted into a slot of a batch.
typedef struct {
    uintptr_t buf;
    int32_t bytes, peer, tag;
    int32_t slot;
    int32_t send; // 1: send, 0: receive
} cm_transfer;

// One transfer that has ended.
typedef struct {
    int32_t slot, error;
    int32_t bytes; // received; for sends 0
    int32_t peer;
} cm_done;

// Slots for transfers that are posted and tested together, with all that MPI needs for that; in C memory.
typedef struct {
    cm_comm comm;
    int32_t slots;
    int32_t posts;  // transfers not yet handed to MPI
    int32_t failed; // which of them MPI refused, or -1
    int32_t count;  // transfers that have ended
    cm_transfer *transfers;
    cm_done *done;
    void *requests, *statuses;
    int *indices;
} cm_batch;

int cm_init_thread(int want, int *provided);
int cm_initialized(void); // 1 between Init and Finalize
int cm_finalize(void);
int cm_abort(cm_comm c, int code);
cm_comm cm_world(void);
int cm_library(char *text, int size);
int cm_error_string(int code, char *text, int size, int *class);
int cm_tag_limit(void);
double cm_wtime(void);
void cm_yield(void);

int cm_rank(cm_comm c, int *rank);
int cm_size(cm_comm c, int *size);
int cm_split(cm_comm c, int color, int key, cm_comm *out);
int cm_split_node(cm_comm c, cm_comm *out);
int cm_free(cm_comm *c);

int cm_barrier(cm_comm c);
int cm_bcast(cm_comm c, void *buf, int n, int type, int root);
int cm_send(cm_comm c, void *buf, int n, int type, int to, int tag);
int cm_recv(cm_comm c, void *buf, int n, int type, int from, int tag, cm_status *s);
int cm_sendrecv(cm_comm c, void *out, int nout, int tout, int to, int outtag, void *in, int nin, int tin, int from, int intag, cm_status *s);
int cm_allreduce(cm_comm c, void *buf, int n, int type, int op);
int cm_reduce_scatter(cm_comm c, void *in, void *out, int n, int type, int op);
int cm_allgather(cm_comm c, void *in, void *out, int n, int type);
int cm_allgatherv(cm_comm c, void *in, int n, void *out, int *counts, int *at, int type);
int cm_alltoallv(cm_comm c, void *in, int *nin, int *atin, void *out, int *nout, int *atout, int type);
int cm_gather(cm_comm c, void *in, void *out, int n, int type, int root);
int cm_iprobe(cm_comm c, int from, int tag, int *found, cm_status *s);

// Requests: blocks of n in C memory, all inactive at first.
void *cm_requests(int n);
void cm_requests_free(void *reqs);
int cm_isend(cm_comm c, void *buf, int n, int type, int to, int tag, void *req);
int cm_irecv(cm_comm c, void *buf, int n, int type, int from, int tag, void *req);
int cm_wait(void *req, cm_status *s);
int cm_test(void *req, int *done, cm_status *s);
int cm_cancel(void *reqs, int n); // cancels receives and forgets all
// Posts a batch's transfers, then tests at most so many times: until something has ended or, with all, until everything has.
cm_batch *cm_batch_new(int slots); // NULL where there is no memory
void cm_batch_free(cm_batch *b);
int cm_poll(uintptr_t batch, int tries, int all); // a number, so that Go need not look where the batch points
void *cm_alloc(int64_t n); // at a cache line

int cm_any_source(void);
int cm_any_tag(void);
int cm_undefined(void);

#endif

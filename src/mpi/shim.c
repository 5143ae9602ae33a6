//go:build mpi

#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

// In MPICH a handle is an int, in Open MPI a pointer: both pass through an integer.
#define COMM(c) ((MPI_Comm)(c))
#define HANDLE(c) ((cm_comm)(c))

static MPI_Datatype type_of(int t) {
    switch (t) {
    case cm_u16: return MPI_UINT16_T;
    case cm_i32: return MPI_INT32_T;
    case cm_i64: return MPI_INT64_T;
    case cm_f32: return MPI_FLOAT;
    case cm_f64: return MPI_DOUBLE;
    }
    return MPI_BYTE;
}

static MPI_Op op_of(int op) { return op == cm_max ? MPI_MAX : op == cm_min ? MPI_MIN : MPI_SUM; }

static void status_to(cm_status *to, MPI_Status *s) {
    int n;
    to->source = s->MPI_SOURCE;
    to->tag = s->MPI_TAG;
    to->error = s->MPI_ERROR;
    to->bytes = MPI_Get_count(s, MPI_BYTE, &n) == MPI_SUCCESS && n != MPI_UNDEFINED ? n : -1;
}

int cm_init_thread(int want, int *provided) {
    int levels[] = {MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE}, got = MPI_THREAD_SINGLE;
    int rc = MPI_Init_thread(NULL, NULL, levels[want], &got);
    *provided = 0;
    for (int i = 0; i < 4; i++)
        if (got == levels[i]) *provided = i;
    if (rc == MPI_SUCCESS) rc = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    return rc;
}

int cm_initialized(void) {
    int begun = 0, ended = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    return begun && !ended;
}

int cm_finalize(void) { return MPI_Finalize(); }
int cm_abort(cm_comm c, int code) { return MPI_Abort(COMM(c), code); }
cm_comm cm_world(void) { return HANDLE(MPI_COMM_WORLD); }

int cm_library(char *text, int size) {
    char all[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0, rc = MPI_Get_library_version(all, &n);
    strncpy(text, all, size - 1);
    text[size - 1] = 0;
    return rc;
}

int cm_error_string(int code, char *text, int size, int *class) {
    char all[MPI_MAX_ERROR_STRING];
    int n = 0, rc = MPI_Error_string(code, all, &n);
    strncpy(text, all, size - 1);
    text[size - 1] = 0;
    MPI_Error_class(code, class);
    return rc;
}

int cm_tag_limit(void) { // an attribute of MPI_COMM_WORLD; others need not have it
    int *limit, found = 0;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &limit, &found);
    return found ? *limit : 32767;
}

double cm_wtime(void) { return MPI_Wtime(); }
void cm_yield(void) { sched_yield(); }

int cm_rank(cm_comm c, int *rank) { return MPI_Comm_rank(COMM(c), rank); }
int cm_size(cm_comm c, int *size) { return MPI_Comm_size(COMM(c), size); }

static int keep(int rc, MPI_Comm made, cm_comm *out) {
    if (rc == MPI_SUCCESS && made != MPI_COMM_NULL) rc = MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
    *out = made == MPI_COMM_NULL ? 0 : HANDLE(made);
    return rc;
}

int cm_split(cm_comm c, int color, int key, cm_comm *out) {
    MPI_Comm made = MPI_COMM_NULL;
    int rc = MPI_Comm_split(COMM(c), color, key, &made);
    return keep(rc, made, out);
}

int cm_split_node(cm_comm c, cm_comm *out) {
    MPI_Comm made = MPI_COMM_NULL;
    int rc = MPI_Comm_split_type(COMM(c), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &made);
    return keep(rc, made, out);
}

int cm_free(cm_comm *c) {
    MPI_Comm h = COMM(*c);
    int rc = MPI_Comm_free(&h);
    *c = 0;
    return rc;
}

int cm_barrier(cm_comm c) { return MPI_Barrier(COMM(c)); }
int cm_bcast(cm_comm c, void *buf, int n, int type, int root) { return MPI_Bcast(buf, n, type_of(type), root, COMM(c)); }
int cm_send(cm_comm c, void *buf, int n, int type, int to, int tag) { return MPI_Send(buf, n, type_of(type), to, tag, COMM(c)); }

int cm_recv(cm_comm c, void *buf, int n, int type, int from, int tag, cm_status *s) {
    MPI_Status st;
    memset(&st, 0, sizeof st);
    int rc = MPI_Recv(buf, n, type_of(type), from, tag, COMM(c), &st);
    status_to(s, &st);
    return rc;
}

int cm_sendrecv(cm_comm c, void *out, int nout, int tout, int to, int outtag, void *in, int nin, int tin, int from, int intag, cm_status *s) {
    MPI_Status st;
    memset(&st, 0, sizeof st);
    int rc = MPI_Sendrecv(out, nout, type_of(tout), to, outtag, in, nin, type_of(tin), from, intag, COMM(c), &st);
    status_to(s, &st);
    return rc;
}

int cm_allreduce(cm_comm c, void *buf, int n, int type, int op) {
    return MPI_Allreduce(MPI_IN_PLACE, buf, n, type_of(type), op_of(op), COMM(c));
}

int cm_reduce_scatter(cm_comm c, void *in, void *out, int n, int type, int op) {
    return MPI_Reduce_scatter_block(in, out, n, type_of(type), op_of(op), COMM(c));
}

int cm_allgather(cm_comm c, void *in, void *out, int n, int type) {
    return MPI_Allgather(in, n, type_of(type), out, n, type_of(type), COMM(c));
}

int cm_allgatherv(cm_comm c, void *in, int n, void *out, int *counts, int *at, int type) {
    return MPI_Allgatherv(in, n, type_of(type), out, counts, at, type_of(type), COMM(c));
}

int cm_alltoallv(cm_comm c, void *in, int *nin, int *atin, void *out, int *nout, int *atout, int type) {
    return MPI_Alltoallv(in, nin, atin, type_of(type), out, nout, atout, type_of(type), COMM(c));
}

int cm_gather(cm_comm c, void *in, void *out, int n, int type, int root) {
    return MPI_Gather(in, n, type_of(type), out, n, type_of(type), root, COMM(c));
}

int cm_iprobe(cm_comm c, int from, int tag, int *found, cm_status *s) {
    MPI_Status st;
    memset(&st, 0, sizeof st);
    int rc = MPI_Iprobe(from, tag, COMM(c), found, &st);
    if (rc == MPI_SUCCESS && *found) status_to(s, &st);
    return rc;
}

void *cm_requests(int n) {
    MPI_Request *r = malloc(sizeof(MPI_Request) * n);
    for (int i = 0; r && i < n; i++) r[i] = MPI_REQUEST_NULL;
    return r;
}

void cm_requests_free(void *reqs) { free(reqs); }

int cm_isend(cm_comm c, void *buf, int n, int type, int to, int tag, void *req) {
    return MPI_Isend(buf, n, type_of(type), to, tag, COMM(c), (MPI_Request *)req);
}

int cm_irecv(cm_comm c, void *buf, int n, int type, int from, int tag, void *req) {
    return MPI_Irecv(buf, n, type_of(type), from, tag, COMM(c), (MPI_Request *)req);
}

int cm_wait(void *req, cm_status *s) {
    MPI_Status st;
    memset(&st, 0, sizeof st);
    int rc = MPI_Wait((MPI_Request *)req, &st);
    status_to(s, &st);
    return rc;
}

int cm_test(void *req, int *done, cm_status *s) {
    MPI_Status st;
    memset(&st, 0, sizeof st);
    int rc = MPI_Test((MPI_Request *)req, done, &st);
    if (*done) status_to(s, &st);
    return rc;
}

int cm_cancel(void *reqs, int n) {
    MPI_Request *r = reqs;
    int rc = MPI_SUCCESS;
    for (int i = 0; i < n; i++)
        if (r[i] != MPI_REQUEST_NULL) {
            int e = MPI_Cancel(&r[i]);
            if (e == MPI_SUCCESS) e = MPI_Request_free(&r[i]);
            if (e != MPI_SUCCESS) rc = e;
            r[i] = MPI_REQUEST_NULL;
        }
    return rc;
}

cm_batch *cm_batch_new(int slots) {
    cm_batch *b = calloc(1, sizeof *b);
    if (b == NULL) return NULL;
    b->slots = slots;
    b->transfers = calloc(slots, sizeof *b->transfers);
    b->done = calloc(slots, sizeof *b->done);
    b->requests = cm_requests(slots);
    b->statuses = calloc(slots, sizeof(MPI_Status));
    b->indices = calloc(slots, sizeof *b->indices);
    if (b->transfers && b->done && b->requests && b->statuses && b->indices) return b;
    cm_batch_free(b);
    return NULL;
}

void cm_batch_free(cm_batch *b) {
    free(b->transfers);
    free(b->done);
    free(b->requests);
    free(b->statuses);
    free(b->indices);
    free(b);
}

static int post(cm_batch *b) {
    MPI_Request *r = b->requests;
    for (int i = 0; i < b->posts; i++) {
        const cm_transfer *t = &b->transfers[i];
        int rc = t->send ? MPI_Isend((void *)t->buf, t->bytes, MPI_BYTE, t->peer, t->tag, COMM(b->comm), &r[t->slot])
                         : MPI_Irecv((void *)t->buf, t->bytes, MPI_BYTE, t->peer, t->tag, COMM(b->comm), &r[t->slot]);
        if (rc != MPI_SUCCESS) {
            b->failed = i;
            return rc;
        }
    }
    b->posts = 0;
    return MPI_SUCCESS;
}

// Tests everything that is under way: all of it has ended, or nothing counts as ended.
static int test_all(cm_batch *b, int tries) {
    MPI_Request *r = b->requests;
    MPI_Status *st = b->statuses;
    int open = 0, ended = 0, rc = MPI_SUCCESS;
    for (int i = 0; i < b->slots; i++)
        if (r[i] != MPI_REQUEST_NULL) b->indices[open++] = i;
    for (int i = 0; i < tries && !ended && rc == MPI_SUCCESS; i++) rc = MPI_Testall(b->slots, r, &ended, st);
    if (!ended && rc != MPI_ERR_IN_STATUS) return rc;
    for (int i = 0; i < open; i++) // after an error some may be under way still: they are not done
        if (ended || st[b->indices[i]].MPI_ERROR != MPI_ERR_PENDING) b->indices[b->count++] = b->indices[i];
    return rc;
}

int cm_poll(uintptr_t batch, int tries, int all) {
    cm_batch *b = (cm_batch *)batch;
    MPI_Status *st = b->statuses;
    b->failed = -1;
    b->count = 0;
    int rc = post(b), found = 0;
    if (rc == MPI_SUCCESS && all) {
        rc = test_all(b, tries);
    } else {
        for (int i = 0; i < tries && found == 0 && rc == MPI_SUCCESS; i++) rc = MPI_Testsome(b->slots, b->requests, &found, b->indices, st);
        b->count = found == MPI_UNDEFINED ? 0 : found;
    }
    for (int i = 0; i < b->count; i++) {
        MPI_Status *s = &st[all ? b->indices[i] : i];
        int bytes = 0, e = rc == MPI_ERR_IN_STATUS ? s->MPI_ERROR : MPI_SUCCESS;
        MPI_Get_count(s, MPI_BYTE, &bytes);
        b->done[i].slot = b->indices[i];
        b->done[i].error = e == MPI_ERR_PENDING ? MPI_SUCCESS : e;
        b->done[i].bytes = bytes;
        b->done[i].peer = s->MPI_SOURCE;
    }
    return rc == MPI_ERR_IN_STATUS ? MPI_SUCCESS : rc;
}

void *cm_alloc(int64_t n) {
    void *p = NULL;
    return posix_memalign(&p, 64, n) == 0 ? p : NULL;
}

int cm_any_source(void) { return MPI_ANY_SOURCE; }
int cm_any_tag(void) { return MPI_ANY_TAG; }
int cm_undefined(void) { return MPI_UNDEFINED; }

// The collectives of `cambium bench comm` in plain C: MPI_Allreduce, MPI_Allgather, MPI_Reduce_scatter_block, MPI_Alltoall and
// MPI_Sendrecv round a ring, on float, with the same sizes, numbers of calls and timing. One line of JSON for each.
//   mpicc -O3 -o collectives collectives.c; mpirun -n 2 ./collectives MINBYTES MAXBYTES FACTOR WARMUP ITERS
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int me, n;
static float *a, *b;

static void call(int kind, int in_place, int count) {
    switch (kind) {
    case 0: MPI_Allreduce(in_place ? MPI_IN_PLACE : a, in_place ? a : b, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); break;
    case 1:
        if (in_place) MPI_Allgather(MPI_IN_PLACE, 0, MPI_FLOAT, a, count, MPI_FLOAT, MPI_COMM_WORLD);
        else MPI_Allgather(a + (size_t)me * count, count, MPI_FLOAT, b, count, MPI_FLOAT, MPI_COMM_WORLD);
        break;
    case 2:
        if (in_place) MPI_Reduce_scatter_block(MPI_IN_PLACE, a, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        else MPI_Reduce_scatter_block(a, b, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        break;
    case 3: MPI_Alltoall(a, count, MPI_FLOAT, b, count, MPI_FLOAT, MPI_COMM_WORLD); break;
    case 4: MPI_Sendrecv(a, count, MPI_FLOAT, (me + 1) % n, 1, b, count, MPI_FLOAT, (me + n - 1) % n, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE); break;
    }
}

int main(int argc, char **argv) {
    static const char *name[] = {"all_reduce", "all_gather", "reduce_scatter", "alltoall", "sendrecv"};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    if (argc != 6) {
        if (me == 0) fprintf(stderr, "usage: collectives MINBYTES MAXBYTES FACTOR WARMUP ITERS\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    size_t from = atoll(argv[1]), to = atoll(argv[2]), factor = atoll(argv[3]);
    int warmup = atoi(argv[4]), iters = atoi(argv[5]);
    a = malloc(to + 64), b = malloc(to + 64);
    memset(a, 0, to), memset(b, 0, to);
    for (int kind = 0; kind < 5; kind++)
        for (size_t size = from; size <= to; size *= factor) {
            int parts = kind >= 1 && kind <= 3, count = size / 4;
            if (parts) {
                count /= n;
                if (count >= 4) count &= ~3;
            }
            for (int in_place = 0; in_place < 2; in_place++) {
                if (in_place ? kind > 2 : kind == 0) continue; // the forms that Cambium has
                for (int i = 0; i < warmup; i++) call(kind, in_place, count);
                MPI_Barrier(MPI_COMM_WORLD);
                double t = MPI_Wtime();
                for (int i = 0; i < iters; i++) call(kind, in_place, count);
                t = (MPI_Wtime() - t) / iters;
                MPI_Allreduce(MPI_IN_PLACE, &t, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
                if (me == 0)
                    printf("{\"collective\": \"%s\", \"in_place\": %d, \"size\": %zu, \"time\": %.3f}\n", name[kind], in_place,
                           (size_t)4 * count * (parts ? n : 1), t / n * 1e6);
            }
        }
    MPI_Finalize();
    return 0;
}

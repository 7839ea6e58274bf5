/* Every other way that bytes go: pipes, sendfile, copies in the kernel, direct, asynchronous and ring-queued I/O. */
#include "cases.h"
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { PAGE = 4096, SIZE = 1500000 };

static char *pattern(size_t length, int seed) {
  char *bytes = malloc(length);
  unsigned state = 12345u + (unsigned)seed;
  for (size_t i = 0; i < length; i++) bytes[i] = (char)(rand_r(&state) >> 4);
  return bytes;
}

static int filled(const char *name, const char *bytes, size_t length) {
  int fd = OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
  put(fd, bytes, length, 0);
  return fd;
}

static void check_file(const char *name, const char *bytes, size_t length) {
  int fd = OK(open(name, O_RDONLY));
  char *back = malloc(length);
  CHECK_SAYING(stat_of(name).st_size == (off_t)length, "%s has %ld bytes", name, (long)stat_of(name).st_size);
  get(fd, back, length, 0);
  for (size_t i = 0; i < length; i++) CHECK_SAYING(back[i] == bytes[i], "%s differs at %zu", name, i);
  free(back);
  OK(close(fd));
}

static void splice_in_and_out(void) {
  char *bytes = pattern(SIZE, 1);
  int from = filled("from", bytes, SIZE), to = OK(open("to", O_WRONLY | O_CREAT, 0644)), pipes[2];
  OK(pipe(pipes));
  loff_t read_at = 0, write_at = 0;
  while (read_at < SIZE) {
    ssize_t moved = OK(splice(from, &read_at, pipes[1], NULL, 60000, 0));
    CHECK(moved > 0);
    while (moved > 0) moved -= OK(splice(pipes[0], NULL, to, &write_at, (size_t)moved, SPLICE_F_MOVE));
  }
  check_file("to", bytes, SIZE);
}

static void tee_copies_a_pipe(void) {
  char *bytes = pattern(40000, 2), back[40000];
  int from = filled("from", bytes, 40000), to = OK(open("to", O_WRONLY | O_CREAT, 0644)), a[2], b[2];
  OK(pipe(a));
  OK(pipe(b));
  CHECK(OK(splice(from, NULL, a[1], NULL, 40000, 0)) == 40000);
  CHECK(OK(tee(a[0], b[1], 40000, 0)) == 40000);
  CHECK(OK(splice(a[0], NULL, to, NULL, 40000, 0)) == 40000);
  for (size_t got = 0; got < 40000;) got += OK(read(b[0], back + got, 40000 - got));
  CHECK(memcmp(back, bytes, 40000) == 0);
  check_file("to", bytes, 40000);
}

static void vmsplice_gives_memory(void) {
  char *bytes = pattern(50000, 3);
  int to = OK(open("to", O_WRONLY | O_CREAT, 0644)), pipes[2];
  OK(pipe(pipes));
  struct iovec vector = {.iov_base = bytes, .iov_len = 50000};
  CHECK(OK(vmsplice(pipes[1], &vector, 1, 0)) == 50000);
  for (ssize_t left = 50000; left > 0;) left -= OK(splice(pipes[0], NULL, to, NULL, (size_t)left, 0));
  check_file("to", bytes, 50000);
}

static void sendfile_to_a_file_and_a_socket(void) {
  char *bytes = pattern(SIZE, 4), *back = malloc(SIZE);
  int from = filled("from", bytes, SIZE), to = OK(open("to", O_WRONLY | O_CREAT, 0644)), sockets[2];
  off_t at = 0;
  while (at < SIZE) CHECK(OK(sendfile(to, from, &at, 400000)) > 0);
  check_file("to", bytes, SIZE);
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    for (off_t sent = 0; sent < SIZE;) CHECK(OK(sendfile(sockets[1], from, &sent, SIZE)) > 0);
    _exit(0);
  }
  for (size_t got = 0; got < SIZE;) got += OK(read(sockets[0], back + got, SIZE - got));
  CHECK(memcmp(back, bytes, SIZE) == 0);
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
}

static void copy_file_range_copies(void) {
  char *bytes = pattern(SIZE, 5);
  int from = filled("from", bytes, SIZE), to = OK(open("to", O_RDWR | O_CREAT, 0644));
  loff_t in = 0, out = 0;
  while (in < SIZE) CHECK(OK(copy_file_range(from, &in, to, &out, SIZE, 0)) > 0);
  CHECK(out == SIZE);
  check_file("to", bytes, SIZE);
  CHECK(OK(copy_file_range(from, &in, to, &out, 10, 0)) == 0);
  /* inside the file, and to a place beyond its end */
  in = 1000;
  out = SIZE + 5000;
  for (size_t left = 100000; left > 0;) left -= OK(copy_file_range(from, &in, from, &out, left, 0));
  char *back = malloc(100000);
  get(from, back, 100000, SIZE + 5000);
  CHECK(memcmp(back, bytes + 1000, 100000) == 0);
  get(from, back, 5000, SIZE);
  CHECK(is_all(back, 0, 5000));
  in = 0;
  out = 500;
  FAILS(EINVAL, copy_file_range(from, &in, from, &out, 1000, 0)); /* overlapping */
  FAILS(EBADF, copy_file_range(from, NULL, OK(open("to", O_RDONLY)), NULL, 10, 0));
}

static void copy_file_range_sees_what_is_not_written_back_yet(void) {
  int from = OK(open("from", O_RDWR | O_CREAT, 0644)), to = OK(open("to", O_RDWR | O_CREAT, 0644));
  OK(ftruncate(from, 64 * PAGE));
  OK(ftruncate(to, 64 * PAGE));
  char *source = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
  char *target = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, to, 0);
  memset(source, 'n', 64 * PAGE);
  memset(target, 'o', 64 * PAGE);
  loff_t in = 100, out = 300;
  for (size_t left = 40 * PAGE; left > 0;) left -= OK(copy_file_range(from, &in, to, &out, left, 0));
  CHECK(is_all(target, 'o', 300) && is_all(target + 300, 'n', 40 * PAGE) &&
        is_all(target + 300 + 40 * PAGE, 'o', 24 * PAGE - 300));
}

static void cloning_works_or_is_refused_cleanly(void) {
  char *bytes = pattern(SIZE, 6);
  int from = filled("from", bytes, SIZE), to = OK(open("to", O_RDWR | O_CREAT, 0644));
  if (ioctl(to, FICLONE, from) == 0) check_file("to", bytes, SIZE);
  else CHECK_SAYING(errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV || errno == EINVAL, "FICLONE");
}

static void direct_and_cached_io_see_each_other(void) {
  enum { LENGTH = 64 * PAGE };
  int cached = OK(open("f", O_RDWR | O_CREAT, 0644)), direct = OK(open("f", O_RDWR | O_DIRECT));
  char *aligned = NULL, *back = malloc(LENGTH);
  CHECK(posix_memalign((void **)&aligned, PAGE, LENGTH) == 0);
  memset(back, 'c', LENGTH);
  put(cached, back, LENGTH, 0);
  CHECK(OK(pread(direct, aligned, LENGTH, 0)) == LENGTH);
  CHECK(is_all(aligned, 'c', LENGTH));
  get(cached, back, LENGTH, 0);
  memset(aligned, 'd', LENGTH);
  CHECK(OK(pwrite(direct, aligned, LENGTH / 2, LENGTH / 4)) == LENGTH / 2);
  get(cached, back, LENGTH, 0);
  CHECK(is_all(back, 'c', LENGTH / 4) && is_all(back + LENGTH / 4, 'd', LENGTH / 2) &&
        is_all(back + 3 * LENGTH / 4, 'c', LENGTH / 4));
  CHECK(OK(pwrite(direct, aligned, LENGTH, LENGTH)) == LENGTH); /* extends */
  CHECK(stat_of("f").st_size == 2 * LENGTH);
  CHECK(OK(pread(direct, aligned, LENGTH, 2 * LENGTH - PAGE)) == PAGE); /* short at the end */
  CHECK(OK(pread(direct, aligned, LENGTH, 2 * LENGTH)) == 0);
  put(cached, "tail", 4, 2 * LENGTH);
  CHECK(OK(pread(direct, aligned, PAGE, 2 * LENGTH)) == 4);
  CHECK(memcmp(aligned, "tail", 4) == 0);
}

static void direct_appends_of_processes_are_whole(void) {
  enum { PROCESSES = 3, ROUNDS = 100 };
  fflush(NULL);
  pid_t children[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    children[p] = OK(fork());
    if (children[p] != 0) continue;
    int fd = OK(open("f", O_WRONLY | O_CREAT | O_APPEND | O_DIRECT, 0644));
    char *aligned = NULL;
    CHECK(posix_memalign((void **)&aligned, PAGE, PAGE) == 0);
    memset(aligned, 'a' + p, PAGE);
    for (int i = 0; i < ROUNDS; i++) CHECK(OK(write(fd, aligned, PAGE)) == PAGE);
    _exit(0);
  }
  for (int p = 0; p < PROCESSES; p++) {
    int status;
    OK(waitpid(children[p], &status, 0));
    CHECK(status == 0);
  }
  CHECK_SAYING(stat_of("f").st_size == PROCESSES * ROUNDS * PAGE, "%ld bytes", (long)stat_of("f").st_size);
  int fd = OK(open("f", O_RDONLY));
  char block[PAGE];
  for (int i = 0; i < PROCESSES * ROUNDS; i++) {
    get(fd, block, PAGE, (off_t)i * PAGE);
    CHECK(is_all(block, block[0], PAGE));
  }
}

static void asynchronous_io(int flags) {
  enum { DEPTH = 16, BLOCK = 16 * PAGE };
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, DEPTH, &context) == -1) not_offered("io_setup");
  int fd = OK(open("f", O_RDWR | O_CREAT | flags, 0644));
  struct iocb blocks[DEPTH], *list[DEPTH];
  char *bytes[DEPTH];
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < DEPTH; i++) {
      if (pass == 0) CHECK(posix_memalign((void **)&bytes[i], PAGE, BLOCK) == 0);
      memset(bytes[i], pass == 0 ? 'A' + i : 0, BLOCK);
      blocks[i] = (struct iocb){.aio_fildes = (unsigned)fd,
                                .aio_lio_opcode = pass == 0 ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                                .aio_buf = (uintptr_t)bytes[i],
                                .aio_nbytes = BLOCK,
                                .aio_offset = (DEPTH - 1 - i) * BLOCK,
                                .aio_data = (unsigned)i};
      list[i] = &blocks[i];
    }
    CHECK(OK(syscall(SYS_io_submit, context, DEPTH, list)) == DEPTH);
    struct io_event events[DEPTH];
    CHECK(OK(syscall(SYS_io_getevents, context, DEPTH, DEPTH, events, NULL)) == DEPTH);
    for (int i = 0; i < DEPTH; i++) CHECK_SAYING(events[i].res == BLOCK, "answer %lld", (long long)events[i].res);
  }
  for (int i = 0; i < DEPTH; i++) CHECK(is_all(bytes[i], 'A' + i, BLOCK));
  CHECK(stat_of("f").st_size == DEPTH * BLOCK);
  struct iocb sync = {.aio_fildes = (unsigned)fd, .aio_lio_opcode = IOCB_CMD_FSYNC}, *one = &sync;
  struct io_event event;
  OK(syscall(SYS_io_submit, context, 1, &one));
  CHECK(OK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL)) == 1 && event.res == 0);
  OK(syscall(SYS_io_destroy, context));
}

static void kernel_aio_direct(void) { asynchronous_io(O_DIRECT); }
static void kernel_aio_cached(void) { asynchronous_io(0); }

struct ring {
  int fd;
  unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
  struct io_uring_sqe *entries;
  struct io_uring_cqe *answers;
};

static struct ring open_ring(unsigned depth) {
  struct io_uring_params parameters = {0};
  int fd = (int)syscall(SYS_io_uring_setup, depth, &parameters);
  if (fd == -1) not_offered("io_uring");
  size_t sq = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
  size_t cq = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  char *a = mmap(NULL, sq, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
  char *b = mmap(NULL, cq, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_CQ_RING);
  void *entries = mmap(NULL, parameters.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       IORING_OFF_SQES);
  CHECK(a != MAP_FAILED && b != MAP_FAILED && entries != MAP_FAILED);
  return (struct ring){fd,
                       (unsigned *)(a + parameters.sq_off.tail),
                       (unsigned *)(a + parameters.sq_off.ring_mask),
                       (unsigned *)(a + parameters.sq_off.array),
                       (unsigned *)(b + parameters.cq_off.head),
                       (unsigned *)(b + parameters.cq_off.tail),
                       (unsigned *)(b + parameters.cq_off.ring_mask),
                       entries,
                       (struct io_uring_cqe *)(b + parameters.cq_off.cqes)};
}

static void queue(struct ring *ring, unsigned char operation, int fd, void *bytes, unsigned length, off_t offset, unsigned flags) {
  unsigned tail = *ring->sq_tail, slot = tail & *ring->sq_mask;
  ring->entries[slot] = (struct io_uring_sqe){.opcode = operation,
                                              .fd = fd,
                                              .off = (uint64_t)offset,
                                              .addr = (uintptr_t)bytes,
                                              .len = length,
                                              .open_flags = flags,
                                              .user_data = length};
  ring->sq_array[slot] = slot;
  __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

/* Waits for `count` answers; answers the last result, and checks the others against the lengths. */
static int finish(struct ring *ring, unsigned count) {
  CHECK(OK(syscall(SYS_io_uring_enter, ring->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0)) == (long)count);
  int last = 0;
  for (unsigned i = 0; i < count; i++) {
    unsigned head = *ring->cq_head;
    CHECK(head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE));
    struct io_uring_cqe *answer = &ring->answers[head & *ring->cq_mask];
    last = answer->res;
    if (count > 1) CHECK_SAYING(answer->res == (int)answer->user_data, "answer %d of %u", answer->res, (unsigned)answer->user_data);
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
  }
  return last;
}

static void ring_io(int flags) {
  enum { DEPTH = 16, BLOCK = 8 * PAGE };
  struct ring ring = open_ring(DEPTH);
  queue(&ring, IORING_OP_OPENAT, AT_FDCWD, "f", 0644, 0, (unsigned)(O_RDWR | O_CREAT | flags));
  int fd = finish(&ring, 1);
  CHECK_SAYING(fd >= 0, "open answered %d", fd);
  char *bytes = NULL;
  CHECK(posix_memalign((void **)&bytes, PAGE, DEPTH * BLOCK) == 0);
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < DEPTH; i++) {
      memset(bytes + i * BLOCK, 'a' + (i + round) % 26, BLOCK);
      queue(&ring, IORING_OP_WRITE, fd, bytes + i * BLOCK, BLOCK, (off_t)i * BLOCK, 0);
    }
    finish(&ring, DEPTH);
    memset(bytes, 0, DEPTH * BLOCK);
    for (int i = 0; i < DEPTH; i++) queue(&ring, IORING_OP_READ, fd, bytes + i * BLOCK, BLOCK, (off_t)i * BLOCK, 0);
    finish(&ring, DEPTH);
    for (int i = 0; i < DEPTH; i++) CHECK(is_all(bytes + i * BLOCK, 'a' + (i + round) % 26, BLOCK));
  }
  queue(&ring, IORING_OP_FSYNC, fd, NULL, 0, 0, 0);
  CHECK(finish(&ring, 1) == 0);
  CHECK(stat_of("f").st_size == DEPTH * BLOCK);
}

static void io_uring_direct(void) { ring_io(O_DIRECT); }
static void io_uring_cached(void) { ring_io(0); }

static void advice_and_flushes_are_accepted(void) {
  char *bytes = pattern(SIZE, 8);
  int fd = filled("f", bytes, SIZE);
  for (int advice = POSIX_FADV_NORMAL; advice <= POSIX_FADV_NOREUSE; advice++) OK(-posix_fadvise(fd, 0, 0, advice));
  OK(readahead(fd, 0, SIZE));
  OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  OK(fdatasync(fd));
  OK(fsync(OK(open(".", O_RDONLY | O_DIRECTORY))));
  OK(syncfs(fd));
  check_file("f", bytes, SIZE);
  int synced = OK(open("g", O_WRONLY | O_CREAT | O_SYNC, 0644));
  put(synced, bytes, 100000, 0);
  check_file("g", bytes, 100000);
}

static void reads_and_writes_of_odd_lengths(void) {
  char *bytes = pattern(3 << 20, 9), *back = malloc(3 << 20);
  static const size_t lengths[] = {1, 511, 4095, 4097, 65535, 65537, 131073, 1048575, 1048577, 2097153, 3 << 20};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    int fd = OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
    CHECK(OK(pwrite(fd, bytes, lengths[i], 3)) == (ssize_t)lengths[i]); /* in one call */
    OK(fsync(fd));
    OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    CHECK(OK(pread(fd, back, 3 << 20, 3)) == (ssize_t)lengths[i]);
    CHECK(memcmp(back, bytes, lengths[i]) == 0);
    OK(close(fd));
  }
}

CASES({"splice-in-and-out", splice_in_and_out}, {"tee-copies-a-pipe", tee_copies_a_pipe},
      {"vmsplice-gives-memory", vmsplice_gives_memory},
      {"sendfile-to-a-file-and-a-socket", sendfile_to_a_file_and_a_socket},
      {"copy-file-range-copies", copy_file_range_copies},
      {"copy-file-range-sees-what-is-not-written-back-yet", copy_file_range_sees_what_is_not_written_back_yet},
      {"cloning-works-or-is-refused-cleanly", cloning_works_or_is_refused_cleanly},
      {"direct-and-cached-io-see-each-other", direct_and_cached_io_see_each_other},
      {"direct-appends-of-processes-are-whole", direct_appends_of_processes_are_whole},
      {"kernel-aio-direct", kernel_aio_direct}, {"kernel-aio-cached", kernel_aio_cached},
      {"io-uring-direct", io_uring_direct}, {"io-uring-cached", io_uring_cached},
      {"advice-and-flushes-are-accepted", advice_and_flushes_are_accepted},
      {"reads-and-writes-of-odd-lengths", reads_and_writes_of_odd_lengths})

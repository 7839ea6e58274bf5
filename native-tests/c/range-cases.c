/* Ranges of files: room, holes, copies, and offsets beyond what 32 or 53 bits hold. */
#include "cases.h"
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

enum { BLOCK = 64 << 10 };

static int open_new(const char *name) { return (int)OK(open(name, O_RDWR | O_CREAT | O_EXCL, 0644)); }

static off_t size_of(int fd) {
  struct stat st;
  OK(fstat(fd, &st));
  return st.st_size;
}

static struct stat of(int fd) {
  struct stat st;
  OK(fstat(fd, &st));
  return st;
}

/* Gives the file times long past, so that any change of them shows. */
static void age(int fd) {
  struct timespec old[2] = {{1000, 0}, {1000, 0}};
  OK(futimens(fd, old));
}

static void fill(int fd, int value, off_t offset, size_t length) {
  char *bytes = malloc(length);
  memset(bytes, value, length);
  put(fd, bytes, length, offset);
  free(bytes);
}

static void holds(int fd, int value, off_t offset, size_t length) {
  char *bytes = malloc(length);
  get(fd, bytes, length, offset);
  CHECK_SAYING(is_all(bytes, value, length), "not all %d at %lld", value, (long long)offset);
  free(bytes);
}

static void allocate_grows_with_zeros(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 100);
  age(fd);
  OK(fallocate(fd, 0, 50, 3 * BLOCK));
  CHECK(size_of(fd) == 50 + 3 * BLOCK);
  CHECK(of(fd).st_mtime > 1000);
  holds(fd, 'a', 0, 100);
  holds(fd, 0, 100, 3 * BLOCK - 50);
  OK(posix_fallocate(fd, 0, 4 * BLOCK) == 0 ? 0 : -1);
  CHECK(size_of(fd) == 4 * BLOCK);
}

static void allocate_within_the_file_changes_nothing_in_it(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, BLOCK);
  OK(fallocate(fd, 0, 10, 100));
  CHECK(size_of(fd) == BLOCK);
  holds(fd, 'a', 0, BLOCK);
}

static void allocate_may_keep_the_size(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 100);
  OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, BLOCK, BLOCK));
  CHECK(size_of(fd) == 100);
  char byte;
  CHECK(OK(pread(fd, &byte, 1, BLOCK)) == 0);
  OK(ftruncate(fd, 2 * BLOCK));
  holds(fd, 0, 100, 2 * BLOCK - 100);
}

static void punch_makes_zeros_and_frees_blocks(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 4 * BLOCK);
  OK(fsync(fd));
  OK(close(fd)); /* with a write cache the blocks of an open file may not be counted yet */
  long before = stat_of("f").st_blocks;
  fd = OK(open("f", O_RDWR));
  age(fd);
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, 2 * BLOCK));
  CHECK(size_of(fd) == 4 * BLOCK);
  holds(fd, 'a', 0, BLOCK);
  holds(fd, 0, BLOCK, 2 * BLOCK);
  holds(fd, 'a', 3 * BLOCK, BLOCK);
  CHECK(of(fd).st_blocks == before - 2 * BLOCK / 512);
  CHECK(of(fd).st_mtime > 1000 && of(fd).st_ctime > 1000);
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLOCK + 10, 1 << 30));
  CHECK(size_of(fd) == 4 * BLOCK);
  holds(fd, 'a', 3 * BLOCK, 10);
  holds(fd, 0, 3 * BLOCK + 10, BLOCK - 10);
}

static void punch_of_odd_ranges(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 20000);
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4097, 8001));
  holds(fd, 'a', 0, 4097);
  holds(fd, 0, 4097, 8001);
  holds(fd, 'a', 12098, 20000 - 12098);
}

static void zero_range_grows_or_not(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 2 * BLOCK);
  age(fd);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, BLOCK));
  CHECK(size_of(fd) == 2 * BLOCK && of(fd).st_mtime > 1000);
  holds(fd, 'a', 0, 100);
  holds(fd, 0, 100, BLOCK);
  holds(fd, 'a', 100 + BLOCK, BLOCK - 100);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 2 * BLOCK - 10, BLOCK));
  CHECK(size_of(fd) == 2 * BLOCK);
  holds(fd, 0, 2 * BLOCK - 10, 10);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 2 * BLOCK - 20, BLOCK));
  CHECK(size_of(fd) == 3 * BLOCK - 20);
  holds(fd, 0, 2 * BLOCK - 20, BLOCK);
}

static void fallocate_refuses(void) {
  int fd = open_new("f");
  FAILS(EINVAL, fallocate(fd, 0, 0, 0));
  FAILS(EINVAL, fallocate(fd, 0, -1, 10));
  FAILS(EINVAL, fallocate(fd, 0, 0, -1));
  FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
  FAILS(EFBIG, fallocate(fd, 0, INT64_MAX - 10, 100));
  FAILS(EFBIG, fallocate(fd, 0, 1LL << 60, 100));
  CHECK(size_of(fd) == 0);
  int reader = OK(open("f", O_RDONLY));
  FAILS(EBADF, fallocate(reader, 0, 0, 10));
  int dir = OK(open(".", O_RDONLY));
  FAILS(EBADF, fallocate(dir, 0, 0, 10));
}

static void a_mapping_sees_the_punched_hole(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 2 * BLOCK);
  char *map = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  map[5] = 'b';
  map[BLOCK + 5] = 'b';
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK));
  CHECK(is_all(map, 0, BLOCK));
  CHECK(map[BLOCK + 5] == 'b');
  map[7] = 'c';
  OK(msync(map, 2 * BLOCK, MS_SYNC));
  char bytes[10];
  get(fd, bytes, 10, 0);
  CHECK(bytes[5] == 0 && bytes[7] == 'c');
}

static void data_and_holes_are_found(void) {
  int fd = open_new("f");
  OK(ftruncate(fd, 10 * BLOCK));
  fill(fd, 'a', 2 * BLOCK, BLOCK);
  fill(fd, 'a', 5 * BLOCK, 2 * BLOCK);
  CHECK(OK(lseek(fd, 0, SEEK_DATA)) == 2 * BLOCK);
  CHECK(OK(lseek(fd, 0, SEEK_HOLE)) == 0);
  CHECK(OK(lseek(fd, 2 * BLOCK + 7, SEEK_DATA)) == 2 * BLOCK + 7);
  CHECK(OK(lseek(fd, 2 * BLOCK, SEEK_HOLE)) == 3 * BLOCK);
  CHECK(OK(lseek(fd, 3 * BLOCK, SEEK_DATA)) == 5 * BLOCK);
  CHECK(OK(lseek(fd, 5 * BLOCK + 7, SEEK_HOLE)) == 7 * BLOCK);
  CHECK(OK(lseek(fd, 0, SEEK_CUR)) == 7 * BLOCK);
  FAILS(ENXIO, lseek(fd, 7 * BLOCK, SEEK_DATA));
  CHECK(OK(lseek(fd, 10 * BLOCK - 1, SEEK_HOLE)) == 10 * BLOCK - 1);
  FAILS(ENXIO, lseek(fd, 10 * BLOCK, SEEK_HOLE));
  FAILS(ENXIO, lseek(fd, 10 * BLOCK, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, -1, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, INT64_MAX, SEEK_HOLE));
}

static void the_end_of_a_full_file_is_a_hole(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, 3 * BLOCK);
  CHECK(OK(lseek(fd, 0, SEEK_HOLE)) == 3 * BLOCK);
  CHECK(OK(lseek(fd, 5, SEEK_DATA)) == 5);
}

/* What a program wrote into memory is data at once, for whoever copies sparse files. */
static void pages_written_in_memory_are_data(void) {
  int fd = open_new("f");
  OK(ftruncate(fd, 4 * BLOCK));
  char *map = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  memset(map + 2 * BLOCK, 'm', BLOCK);
  CHECK(OK(lseek(fd, 0, SEEK_DATA)) == 2 * BLOCK);
  CHECK(OK(lseek(fd, 2 * BLOCK, SEEK_HOLE)) == 3 * BLOCK);
}

static void copies_a_range(void) {
  int from = open_new("from"), to = open_new("to");
  for (int i = 0; i < 8; i++) fill(from, 'a' + i, i * BLOCK, BLOCK);
  fill(to, 'z', 0, 2 * BLOCK);
  age(to);
  loff_t in = BLOCK, out = BLOCK + 10;
  while (in < 4 * BLOCK) CHECK(OK(copy_file_range(from, &in, to, &out, 4 * BLOCK - in, 0)) > 0);
  CHECK(in == 4 * BLOCK && out == 4 * BLOCK + 10);
  CHECK(size_of(to) == 4 * BLOCK + 10);
  holds(to, 'z', 0, BLOCK + 10);
  for (int i = 1; i < 4; i++) holds(to, 'a' + i, i * BLOCK + 10, BLOCK);
  CHECK(of(to).st_mtime > 1000 && of(to).st_ctime > 1000);
  in = 8 * BLOCK;
  CHECK(OK(copy_file_range(from, &in, to, NULL, 10, 0)) == 0);
  in = 8 * BLOCK - 3;
  CHECK(OK(copy_file_range(from, &in, to, &out, 100, 0)) == 3);
}

static void copies_holes_as_zeros_over_data(void) {
  int from = open_new("from"), to = open_new("to");
  OK(ftruncate(from, 3 * BLOCK));
  fill(from, 'a', BLOCK, BLOCK);
  fill(to, 'z', 0, 4 * BLOCK);
  loff_t in = 0, out = 0;
  while (in < 3 * BLOCK) CHECK(OK(copy_file_range(from, &in, to, &out, 3 * BLOCK - in, 0)) > 0);
  holds(to, 0, 0, BLOCK);
  holds(to, 'a', BLOCK, BLOCK);
  holds(to, 0, 2 * BLOCK, BLOCK);
  holds(to, 'z', 3 * BLOCK, BLOCK);
}

static void copies_within_a_file(void) {
  int fd = open_new("f");
  fill(fd, 'a', 0, BLOCK);
  fill(fd, 'b', BLOCK, BLOCK);
  loff_t in = 0, out = 2 * BLOCK;
  while (in < 2 * BLOCK) CHECK(OK(copy_file_range(fd, &in, fd, &out, 2 * BLOCK - in, 0)) > 0);
  holds(fd, 'a', 2 * BLOCK, BLOCK);
  holds(fd, 'b', 3 * BLOCK, BLOCK);
  in = 0;
  out = 10;
  FAILS(EINVAL, copy_file_range(fd, &in, fd, &out, BLOCK, 0));
}

static void copy_takes_what_is_only_in_memory(void) {
  int from = open_new("from"), to = open_new("to");
  OK(ftruncate(from, BLOCK));
  char *map = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
  CHECK(map != MAP_FAILED);
  memset(map, 'm', BLOCK);
  loff_t in = 0, out = 0;
  while (in < BLOCK) CHECK(OK(copy_file_range(from, &in, to, &out, BLOCK - in, 0)) > 0);
  holds(to, 'm', 0, BLOCK);
}

static void copy_is_seen_by_readers_of_the_target(void) {
  int from = open_new("from"), to = open_new("to");
  fill(from, 'a', 0, BLOCK);
  fill(to, 'z', 0, BLOCK);
  char *map = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, to, 0);
  CHECK(is_all(map, 'z', BLOCK));
  loff_t in = 0, out = 0;
  while (in < BLOCK) CHECK(OK(copy_file_range(from, &in, to, &out, BLOCK - in, 0)) > 0);
  CHECK(is_all(map, 'a', BLOCK));
  holds(to, 'a', 0, BLOCK);
}

static void copy_refuses(void) {
  int from = open_new("from"), to = open_new("to");
  fill(from, 'a', 0, 100);
  int reader = OK(open("to", O_RDONLY)), appender = OK(open("to", O_WRONLY | O_APPEND));
  int writer = OK(open("from", O_WRONLY)), dir = OK(open(".", O_RDONLY));
  loff_t in = 0, out = 0;
  FAILS(EBADF, copy_file_range(from, &in, reader, &out, 10, 0));
  FAILS(EBADF, copy_file_range(from, &in, appender, &out, 10, 0));
  FAILS(EBADF, copy_file_range(writer, &in, to, &out, 10, 0));
  FAILS(EISDIR, copy_file_range(dir, &in, to, &out, 10, 0));
  FAILS(EINVAL, copy_file_range(from, &in, to, &out, 10, 1));
  out = 1LL << 60;
  FAILS(EFBIG, copy_file_range(from, &in, to, &out, 10, 0));
  CHECK(size_of(to) == 0);
}

static void a_clone_is_refused_cleanly(void) {
  int from = open_new("from"), to = open_new("to");
  fill(from, 'a', 0, BLOCK);
  if (ioctl(to, FICLONE, from) == 0) not_offered("a file system without clones");
  CHECK(errno == EOPNOTSUPP || errno == ENOTTY);
  struct file_clone_range range = {from, 0, BLOCK, 0};
  errno = 0;
  CHECK(ioctl(to, FICLONERANGE, &range) == -1 && (errno == EOPNOTSUPP || errno == ENOTTY));
  CHECK(size_of(to) == 0);
}

static void privileges_go_when_others_change_the_bytes(void) {
  if (geteuid() != 0) not_offered("another user");
  OK(chmod(".", 0777));
  make_file("from", "text");
  for (int how = 0; how < 4; how++) {
    char name[8];
    sprintf(name, "f%d", how);
    make_file(name, "0123456789");
    OK(chmod(name, 06777));
    IN_CHILD({
      OK(setgid(65534));
      OK(setuid(65534));
      int fd = OK(open(name, O_RDWR)), from = OK(open("from", O_RDONLY));
      if (how == 0) OK(fallocate(fd, 0, 0, 100));
      if (how == 1) OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5));
      if (how == 2) OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 5));
      if (how == 3) OK(copy_file_range(from, NULL, fd, NULL, 4, 0));
    });
    CHECK_SAYING((stat_of(name).st_mode & 07777) == 0777, "%s has mode %o", name, stat_of(name).st_mode);
  }
}

static void files_beyond_four_gibibytes(void) {
  int fd = open_new("f");
  const off_t far = 6LL << 30;
  put(fd, "far", 3, far);
  put(fd, "edge", 4, (4LL << 30) - 2);
  CHECK(size_of(fd) == far + 3);
  CHECK(of(fd).st_blocks < 2000);
  char bytes[4];
  get(fd, bytes, 3, far);
  CHECK(memcmp(bytes, "far", 3) == 0);
  get(fd, bytes, 4, (4LL << 30) - 2);
  CHECK(memcmp(bytes, "edge", 4) == 0);
  holds(fd, 0, 5LL << 30, 4096);
  OK(ftruncate(fd, 5LL << 40));
  CHECK(size_of(fd) == 5LL << 40);
  CHECK(OK(lseek(fd, -5, SEEK_END)) == (5LL << 40) - 5);
  OK(ftruncate(fd, (4LL << 30) + 1));
  get(fd, bytes, 3, (4LL << 30) - 2);
  CHECK(memcmp(bytes, "edg", 3) == 0);
}

static void sizes_without_end_are_refused(void) {
  int fd = open_new("f");
  put(fd, "kept", 4, 0);
  for (int bits = 56; bits < 63; bits++) {
    FAILS(EFBIG, ftruncate(fd, 1LL << bits));
    FAILS(EFBIG, truncate("f", 1LL << bits));
    FAILS(EFBIG, fallocate(fd, 0, 1LL << bits, 1));
  }
  FAILS(EFBIG, ftruncate(fd, INT64_MAX));
  FAILS(EFBIG, ftruncate(fd, INT64_MAX - 1));
  FAILS(EINVAL, ftruncate(fd, -1));
  FAILS(EINVAL, pwrite(fd, "x", 1, -1));
  char byte;
  CHECK(OK(pread(fd, &byte, 1, 1LL << 60)) == 0);
  CHECK(size_of(fd) == 4);
}

/* At once, or with a write cache at the next fsync. */
static void writes_without_end_are_refused(void) {
  for (int bits = 56; bits < 63; bits++) {
    char name[8];
    sprintf(name, "f%d", bits);
    int fd = open_new(name);
    put(fd, "kept", 4, 0);
    errno = 0;
    if (pwrite(fd, "x", 1, 1LL << bits) == 1) CHECK(fsync(fd) == -1);
    CHECK_SAYING(errno == EFBIG, "a write at 2^%d", bits);
    close(fd);
    fd = OK(open(name, O_RDONLY));
    char bytes[4];
    get(fd, bytes, 4, 0);
    CHECK(memcmp(bytes, "kept", 4) == 0);
    OK(close(fd));
  }
}

static void the_limit_of_the_process_is_kept(void) {
  int fd = open_new("f");
  IN_CHILD({
    struct rlimit most = {BLOCK, BLOCK};
    OK(setrlimit(RLIMIT_FSIZE, &most));
    signal(SIGXFSZ, SIG_IGN);
    CHECK(OK(pwrite(fd, "0123456789", 10, BLOCK - 4)) == 4);
    FAILS(EFBIG, pwrite(fd, "x", 1, BLOCK));
    FAILS(EFBIG, ftruncate(fd, BLOCK + 1));
    FAILS(EFBIG, fallocate(fd, 0, 0, BLOCK + 1));
  });
  CHECK(size_of(fd) == BLOCK);
}

CASES({"allocate-grows-the-file-with-zeros", allocate_grows_with_zeros},
      {"allocate-within-the-file-changes-nothing-in-it", allocate_within_the_file_changes_nothing_in_it},
      {"allocate-may-keep-the-size", allocate_may_keep_the_size},
      {"punch-makes-zeros-and-frees-blocks", punch_makes_zeros_and_frees_blocks},
      {"punch-of-odd-ranges", punch_of_odd_ranges},
      {"zero-range-grows-the-file-or-not", zero_range_grows_or_not},
      {"fallocate-refuses", fallocate_refuses},
      {"a-mapping-sees-the-punched-hole", a_mapping_sees_the_punched_hole},
      {"data-and-holes-are-found", data_and_holes_are_found},
      {"the-end-of-a-full-file-is-a-hole", the_end_of_a_full_file_is_a_hole},
      {"pages-written-in-memory-are-data", pages_written_in_memory_are_data},
      {"copy_file_range-copies-a-range", copies_a_range},
      {"copy_file_range-copies-holes-as-zeros-over-data", copies_holes_as_zeros_over_data},
      {"copy_file_range-copies-within-a-file", copies_within_a_file},
      {"copy_file_range-takes-what-is-only-in-memory", copy_takes_what_is_only_in_memory},
      {"copy_file_range-is-seen-by-readers-of-the-target", copy_is_seen_by_readers_of_the_target},
      {"copy_file_range-refuses", copy_refuses},
      {"a-clone-is-refused-cleanly", a_clone_is_refused_cleanly},
      {"setuid-and-setgid-go-when-others-change-the-bytes", privileges_go_when_others_change_the_bytes},
      {"files-beyond-4-gib", files_beyond_four_gibibytes},
      {"sizes-without-end-are-refused", sizes_without_end_are_refused},
      {"writes-without-end-are-refused", writes_without_end_are_refused},
      {"the-file-size-limit-of-the-process-is-kept", the_limit_of_the_process_is_kept})

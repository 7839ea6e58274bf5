/* Holes and sizes: what was never written reads as zeros, and limits answer with the right error. */
#include "cases.h"
#include <linux/falloc.h>
#include <sys/resource.h>

enum { PAGE = 4096 };
static const off_t MIB = 1 << 20;

static int file(void) { return OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void check_zeros(int fd, off_t from, off_t to) {
  static char block[1 << 16];
  for (off_t at = from; at < to; at += (off_t)sizeof block) {
    size_t length = to - at < (off_t)sizeof block ? (size_t)(to - at) : sizeof block;
    get(fd, block, length, at);
    CHECK_SAYING(is_all(block, 0, length), "something is between %ld and %ld", (long)at, (long)(at + (off_t)length));
  }
}

static void holes_read_as_zeros(void) {
  int fd = file();
  put(fd, "a", 1, 5 * MIB);
  check_zeros(fd, 0, 5 * MIB);
  OK(ftruncate(fd, 7 * MIB));
  check_zeros(fd, 5 * MIB + 1, 7 * MIB);
  CHECK(stat_of("f").st_blocks * 512 < MIB);
}

static void what_truncation_took_away_does_not_come_back(void) {
  static const off_t sizes[] = {1, 100, 4095, 4096, 4097, 10000, 65536, 200001};
  static char block[300000];
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int fd = file();
    memset(block, 'x', sizeof block);
    put(fd, block, sizeof block, 0);
    OK(ftruncate(fd, sizes[i]));
    OK(ftruncate(fd, sizeof block));
    get(fd, block, (size_t)sizes[i], 0);
    CHECK(is_all(block, 'x', (size_t)sizes[i]));
    check_zeros(fd, sizes[i], sizeof block);
    OK(ftruncate(fd, sizes[i]));
    put(fd, "end", 3, sizeof block); /* growing by a write beyond the end */
    check_zeros(fd, sizes[i], sizeof block);
    OK(close(fd));
  }
}

static void truncation_by_name_and_by_open(void) {
  int fd = file();
  put(fd, "0123456789", 10, 0);
  OK(truncate("f", 4));
  check_zeros(fd, 4, 4);
  CHECK(stat_of("f").st_size == 4);
  OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_size == 0);
  char byte;
  CHECK(OK(pread(fd, &byte, 1, 0)) == 0);
  FAILS(EINVAL, ftruncate(fd, -1));
  int reader = OK(open("f", O_RDONLY));
  FAILS(EINVAL, ftruncate(reader, 1));
}

static void seeking_data_and_holes(void) {
  int fd = file();
  OK(ftruncate(fd, 8 * MIB));
  static char block[1 << 20];
  memset(block, 'd', sizeof block);
  put(fd, block, sizeof block, 2 * MIB);
  put(fd, block, sizeof block, 5 * MIB);
  OK(fsync(fd));
  CHECK(OK(lseek(fd, 0, SEEK_DATA)) == 2 * MIB);
  CHECK(OK(lseek(fd, 0, SEEK_HOLE)) == 0);
  CHECK(OK(lseek(fd, 2 * MIB, SEEK_HOLE)) == 3 * MIB);
  CHECK(OK(lseek(fd, 2 * MIB + 7, SEEK_DATA)) == 2 * MIB + 7);
  CHECK(OK(lseek(fd, 3 * MIB, SEEK_DATA)) == 5 * MIB);
  CHECK(OK(lseek(fd, 5 * MIB, SEEK_HOLE)) == 6 * MIB);
  FAILS(ENXIO, lseek(fd, 6 * MIB, SEEK_DATA));
  CHECK(OK(lseek(fd, 6 * MIB, SEEK_HOLE)) == 6 * MIB);
  CHECK(OK(lseek(fd, 8 * MIB - 1, SEEK_HOLE)) == 8 * MIB - 1);
  FAILS(ENXIO, lseek(fd, 8 * MIB, SEEK_HOLE));
  FAILS(ENXIO, lseek(fd, 8 * MIB, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, 9 * MIB, SEEK_DATA));
}

/* Also bytes that are only in the page cache yet are data. */
static void data_just_written_is_data(void) {
  int fd = file();
  OK(ftruncate(fd, 4 * MIB));
  put(fd, "x", 1, 3 * MIB);
  off_t data = OK(lseek(fd, 0, SEEK_DATA));
  CHECK_SAYING(data <= 3 * MIB, "data at %ld", (long)data);
  char *at = mmap(NULL, (size_t)(4 * MIB), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(at != MAP_FAILED);
  at[MIB] = 'm';
  data = OK(lseek(fd, 0, SEEK_DATA));
  CHECK_SAYING(data <= MIB, "data at %ld after a store at 1 MiB", (long)data);
}

static int allocate(int fd, int mode, off_t offset, off_t length) {
  int result = fallocate(fd, mode, offset, length);
  if (result == -1 && errno == EOPNOTSUPP) not_offered("this mode of fallocate");
  return result;
}

static void allocation_extends_and_keeps(void) {
  int fd = file();
  put(fd, "hello", 5, 0);
  OK(allocate(fd, 0, 0, 3));
  CHECK(stat_of("f").st_size == 5);
  OK(allocate(fd, 0, 100, MIB));
  CHECK(stat_of("f").st_size == 100 + MIB);
  check_zeros(fd, 5, 100 + MIB);
  OK(allocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4 * MIB));
  CHECK(stat_of("f").st_size == 100 + MIB);
  char back[5];
  get(fd, back, 5, 0);
  CHECK(memcmp(back, "hello", 5) == 0);
  FAILS(EINVAL, fallocate(fd, 0, 0, 0));
  FAILS(EINVAL, fallocate(fd, 0, -1, 10));
  FAILS(EBADF, fallocate(OK(open("f", O_RDONLY)), 0, 0, 10));
}

static void punched_holes_are_zeros(void) {
  int fd = file();
  static char block[1 << 20];
  memset(block, 'p', sizeof block);
  put(fd, block, sizeof block, 0);
  char *at = mmap(NULL, sizeof block, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(at[5000] == 'p');
  OK(allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 500000));
  CHECK(is_all(at, 'p', 5000) && is_all(at + 5000, 0, 500000) && is_all(at + 505000, 'p', sizeof block - 505000));
  check_zeros(fd, 5000, 505000);
  CHECK(stat_of("f").st_size == MIB);
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB - 10, MIB));
  CHECK(stat_of("f").st_size == MIB);
  check_zeros(fd, MIB - 10, MIB);
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * MIB, MIB)); /* beyond the end: nothing */
  CHECK(stat_of("f").st_size == MIB);
  FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
}

static void zeroed_ranges_are_zeros(void) {
  int fd = file();
  static char block[1 << 20];
  memset(block, 'z', sizeof block);
  put(fd, block, sizeof block, 0);
  OK(allocate(fd, FALLOC_FL_ZERO_RANGE, 1000, 300000));
  check_zeros(fd, 1000, 301000);
  CHECK(stat_of("f").st_size == MIB);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, MIB - 100, MIB));
  CHECK(stat_of("f").st_size == MIB);
  check_zeros(fd, MIB - 100, MIB);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, MIB - 100, MIB));
  CHECK(stat_of("f").st_size == 2 * MIB - 100);
  check_zeros(fd, MIB - 100, 2 * MIB - 100);
  char back[1000];
  get(fd, back, 1000, 0);
  CHECK(is_all(back, 'z', 1000));
}

static void changes_of_ranges_move_the_times(void) {
  static const int modes[] = {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
  for (int i = 0; i < 3; i++) {
    int fd = file();
    put(fd, "0123456789", 10, 0);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    OK(futimens(fd, old));
    OK(allocate(fd, modes[i], i == 0 ? 100 : 2, 5));
    CHECK_SAYING(stat_of("f").st_mtime > 1000, "mode %#x", modes[i]);
    OK(close(fd));
  }
}

static void far_offsets(void) {
  int fd = file();
  static const off_t places[] = {4294967290, 1LL << 33, (1LL << 40) + 5, (1LL << 43) + 12345};
  char back[16];
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    char text[16];
    sprintf(text, "far-%zu-away----", i);
    put(fd, text, 12, places[i]);
    CHECK(stat_of("f").st_size == places[i] + 12);
    get(fd, back, 12, places[i]);
    CHECK(memcmp(back, text, 12) == 0);
    get(fd, back, 16, places[i] - 16);
    CHECK(is_all(back, 0, 16));
  }
  get(fd, back, 12, places[0]);
  CHECK(memcmp(back, "far-0-away", 10) == 0);
  CHECK(OK(lseek(fd, -12, SEEK_END)) == places[3]);
  OK(ftruncate(fd, (1LL << 43) + 1));
  CHECK(stat_of("f").st_size == (1LL << 43) + 1);
  CHECK(stat_of("f").st_blocks < 1000);
}

static void sizes_that_cannot_be_are_refused(void) {
  int fd = file();
  FAILS(EFBIG, ftruncate(fd, 0x7fffffffffffffff));
  FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
  FAILS(EINVAL, pwrite(fd, "x", 1, -5));
  CHECK(stat_of("f").st_size == 0);
}

/* Where the kernel keeps what is written before it hands it on, fsync is the one that says so. */
static void writes_beyond_any_size_are_refused_at_the_latest_by_fsync(void) {
  int fd = file();
  errno = 0;
  if (pwrite(fd, "x", 1, 0x7ffffffffffffff0) == 1) {
    FAILS(EFBIG, fsync(fd));
    syncfs(fd); /* it tells once, too, whoever asks first */
  } else CHECK(errno == EFBIG);
  OK(unlink("f"));
  OK(close(fd));
  fd = file();
  put(fd, "fine", 4, 0);
  OK(fsync(fd));
}

static volatile sig_atomic_t told;
static void on_limit(int signal) {
  (void)signal;
  told++;
}

static void the_limit_of_a_process_is_kept(void) {
  int fd = file();
  struct sigaction action = {.sa_handler = on_limit};
  OK(sigaction(SIGXFSZ, &action, NULL));
  struct rlimit limit = {.rlim_cur = 100000, .rlim_max = 100000};
  OK(setrlimit(RLIMIT_FSIZE, &limit));
  put(fd, "x", 1, 99999);
  FAILS(EFBIG, pwrite(fd, "x", 1, 100000));
  CHECK(told == 1);
  FAILS(EFBIG, ftruncate(fd, 100001));
  CHECK(told == 2);
  CHECK(OK(pwrite(fd, "0123456789", 10, 99995)) == 5); /* as much as is allowed */
  FAILS(EFBIG, truncate("f", 200000));
  CHECK(stat_of("f").st_size == 100000);
}

static void the_limit_of_a_process_holds_for_allocation(void) {
  int fd = file();
  OK(allocate(fd, 0, 0, 10));
  struct sigaction action = {.sa_handler = on_limit};
  OK(sigaction(SIGXFSZ, &action, NULL));
  struct rlimit limit = {.rlim_cur = 100000, .rlim_max = 100000};
  OK(setrlimit(RLIMIT_FSIZE, &limit));
  FAILS(EFBIG, fallocate(fd, 0, 50000, 100000));
  CHECK(told == 1 && stat_of("f").st_size == 10);
}

static void many_small_holes(void) {
  enum { COUNT = 3000 };
  int fd = file();
  char back[64];
  for (int i = 0; i < COUNT; i++) put(fd, &(char){'a' + (char)(i % 26)}, 1, (off_t)(i * 7919LL % COUNT) * 10000);
  for (int i = 0; i < COUNT; i++) {
    off_t at = (off_t)(i * 7919LL % COUNT) * 10000;
    get(fd, back, 1, at);
    CHECK(back[0] == 'a' + i % 26);
    if (at + 64 < (off_t)(COUNT - 1) * 10000) {
      get(fd, back, 63, at + 1);
      CHECK(is_all(back, 0, 63));
    }
  }
}

CASES({"holes-read-as-zeros", holes_read_as_zeros},
      {"what-truncation-took-away-does-not-come-back", what_truncation_took_away_does_not_come_back},
      {"truncation-by-name-and-by-open", truncation_by_name_and_by_open},
      {"seeking-data-and-holes", seeking_data_and_holes},
      {"data-just-written-is-data", data_just_written_is_data},
      {"allocation-extends-and-keeps", allocation_extends_and_keeps},
      {"punched-holes-are-zeros", punched_holes_are_zeros},
      {"zeroed-ranges-are-zeros", zeroed_ranges_are_zeros},
      {"changes-of-ranges-move-the-times", changes_of_ranges_move_the_times},
      {"far-offsets", far_offsets},
      {"sizes-that-cannot-be-are-refused", sizes_that_cannot_be_are_refused},
      {"writes-beyond-any-size-are-refused-at-the-latest-by-fsync", writes_beyond_any_size_are_refused_at_the_latest_by_fsync},
      {"the-limit-of-a-process-is-kept", the_limit_of_a_process_is_kept},
      {"the-limit-of-a-process-holds-for-allocation", the_limit_of_a_process_holds_for_allocation},
      {"many-small-holes", many_small_holes})

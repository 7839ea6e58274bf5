/* Files in memory: what mmap shows, keeps and refuses, together with read and write. */
#include "cases.h"
#include <setjmp.h>

enum { PAGE = 4096 };

static int open_file(const char *name, off_t size) {
  int fd = OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
  OK(ftruncate(fd, size));
  return fd;
}

static char *map(int fd, size_t length, int protection, int flags) {
  void *at = mmap(NULL, length, protection, flags, fd, 0);
  CHECK_SAYING(at != MAP_FAILED, "mmap");
  return at;
}

static char *shared(int fd, size_t length) { return map(fd, length, PROT_READ | PROT_WRITE, MAP_SHARED); }

static void writes_are_seen_in_the_mapping(void) {
  int fd = open_file("f", 4 * PAGE);
  char *at = shared(fd, 4 * PAGE);
  CHECK(is_all(at, 0, 4 * PAGE));
  put(fd, "hello", 5, PAGE - 2);
  CHECK(memcmp(at + PAGE - 2, "hello", 5) == 0);
  int other = OK(open("f", O_WRONLY));
  put(other, "world", 5, 2 * PAGE);
  CHECK(memcmp(at + 2 * PAGE, "world", 5) == 0);
}

static void stores_are_seen_by_read_without_msync(void) {
  int fd = open_file("f", 4 * PAGE);
  char *at = shared(fd, 4 * PAGE), back[6] = "";
  memcpy(at + 3 * PAGE - 3, "stored", 6);
  get(fd, back, 6, 3 * PAGE - 3);
  CHECK(memcmp(back, "stored", 6) == 0);
  int other = OK(open("f", O_RDONLY));
  get(other, back, 6, 3 * PAGE - 3);
  CHECK(memcmp(back, "stored", 6) == 0);
}

static void two_processes_share_a_mapping(void) {
  int fd = open_file("f", PAGE);
  volatile int *at = (volatile int *)shared(fd, PAGE);
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    volatile int *mine = (volatile int *)shared(OK(open("f", O_RDWR)), PAGE);
    for (int i = 1; i <= 2000; i++) {
      while (__atomic_load_n(&mine[0], __ATOMIC_SEQ_CST) != i) {}
      __atomic_store_n(&mine[64], i, __ATOMIC_SEQ_CST);
    }
    _exit(0);
  }
  for (int i = 1; i <= 2000; i++) {
    __atomic_store_n(&at[0], i, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&at[64], __ATOMIC_SEQ_CST) != i) {}
  }
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
}

static void stores_reach_the_file_after_close_and_munmap(void) {
  int fd = open_file("f", 8 * PAGE);
  char *at = shared(fd, 8 * PAGE);
  OK(close(fd));
  memset(at, 'm', 8 * PAGE);
  OK(munmap(at, 8 * PAGE));
  static char back[8 * PAGE];
  fd = OK(open("f", O_RDONLY));
  get(fd, back, sizeof back, 0);
  CHECK(is_all(back, 'm', sizeof back));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  fd = OK(open("f", O_RDONLY | O_DIRECT));
  void *aligned = NULL;
  CHECK(posix_memalign(&aligned, PAGE, 8 * PAGE) == 0);
  CHECK(OK(read(fd, aligned, 8 * PAGE)) == 8 * PAGE);
  CHECK(is_all(aligned, 'm', 8 * PAGE));
}

static void stores_survive_msync_and_the_page_cache(void) {
  int fd = open_file("f", 300 * PAGE);
  char *at = shared(fd, 300 * PAGE);
  for (int i = 0; i < 300; i++) memset(at + i * PAGE, 'a' + i % 26, PAGE);
  OK(msync(at, 300 * PAGE, MS_SYNC));
  OK(munmap(at, 300 * PAGE));
  OK(fsync(fd));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  at = map(fd, 300 * PAGE, PROT_READ, MAP_SHARED);
  for (int i = 0; i < 300; i++) CHECK_SAYING(is_all(at + i * PAGE, 'a' + i % 26, PAGE), "page %d is another", i);
}

static sigjmp_buf back_from_bus;
static void on_bus(int signal) {
  (void)signal;
  siglongjmp(back_from_bus, 1);
}

/* Whether touching the byte raises SIGBUS. */
static int faults(volatile char *at, int store) {
  struct sigaction action = {.sa_handler = on_bus};
  OK(sigaction(SIGBUS, &action, NULL));
  if (sigsetjmp(back_from_bus, 1) != 0) return 1;
  if (store) *at = 'x';
  else (void)*at;
  return 0;
}

static void pages_beyond_the_end_raise_sigbus(void) {
  int fd = open_file("f", PAGE + 100);
  char *at = shared(fd, 4 * PAGE);
  CHECK(!faults(at, 0) && !faults(at + PAGE + 99, 1));
  CHECK(!faults(at + 2 * PAGE - 1, 0)); /* the rest of the last page */
  CHECK(faults(at + 2 * PAGE, 0) && faults(at + 2 * PAGE, 1) && faults(at + 3 * PAGE, 0));
  OK(ftruncate(fd, 3 * PAGE));
  CHECK(!faults(at + 2 * PAGE, 0) && faults(at + 3 * PAGE, 0));
}

static void truncation_takes_mapped_pages_away(void) {
  int fd = open_file("f", 4 * PAGE);
  char *at = shared(fd, 4 * PAGE);
  memset(at, 'q', 4 * PAGE);
  OK(ftruncate(fd, PAGE));
  CHECK(!faults(at, 0) && faults(at + PAGE, 0) && faults(at + 3 * PAGE, 1));
  OK(ftruncate(fd, 4 * PAGE));
  CHECK(is_all(at, 'q', PAGE) && is_all(at + PAGE, 0, 3 * PAGE));
}

static void bytes_past_the_end_in_the_last_page_are_not_kept(void) {
  int fd = open_file("f", 100);
  char *at = shared(fd, PAGE);
  memset(at, 'e', PAGE);
  OK(msync(at, PAGE, MS_SYNC));
  CHECK(stat_of("f").st_size == 100);
  OK(munmap(at, PAGE));
  OK(fsync(fd));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  OK(ftruncate(fd, PAGE));
  char back[PAGE];
  get(fd, back, PAGE, 0);
  CHECK(is_all(back, 'e', 100) && is_all(back + 100, 0, PAGE - 100));
}

static void truncation_zeroes_the_rest_of_the_page(void) {
  int fd = open_file("f", 2 * PAGE);
  char *at = shared(fd, 2 * PAGE);
  memset(at, 'z', 2 * PAGE);
  OK(ftruncate(fd, 1000));
  CHECK(is_all(at + 1000, 0, PAGE - 1000));
  OK(ftruncate(fd, 2 * PAGE));
  char back[2 * PAGE];
  get(fd, back, sizeof back, 0);
  CHECK(is_all(back, 'z', 1000) && is_all(back + 1000, 0, sizeof back - 1000));
}

static void private_stores_stay_private(void) {
  int fd = open_file("f", 2 * PAGE);
  char *at = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memset(at, 'p', PAGE);
  char back[PAGE];
  get(fd, back, PAGE, 0);
  CHECK(is_all(back, 0, PAGE));
  memset(back, 'w', PAGE);
  put(fd, back, PAGE, PAGE);
  put(fd, back, PAGE, 0);
  CHECK(is_all(at, 'p', PAGE) && is_all(at + PAGE, 'w', PAGE));
  OK(munmap(at, 2 * PAGE));
  get(fd, back, PAGE, 0);
  CHECK(is_all(back, 'w', PAGE));
}

static void a_descriptor_without_the_right_is_refused(void) {
  OK(close(open_file("f", PAGE)));
  int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_WRONLY));
  FAILS(EACCES, mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
  FAILS(EACCES, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, writer, 0));
  char *at = map(reader, PAGE, PROT_READ, MAP_SHARED);
  FAILS(EACCES, mprotect(at, PAGE, PROT_READ | PROT_WRITE));
  OK(mprotect(map(reader, PAGE, PROT_READ, MAP_PRIVATE), PAGE, PROT_READ | PROT_WRITE));
}

/* The kernel has to fault a page in while it holds the file for the call: a known way to hang a file system. */
static void reading_into_a_mapping_of_the_same_file(void) {
  int fd = open_file("f", 64 * PAGE);
  char *bytes = malloc(32 * PAGE);
  memset(bytes, 's', 32 * PAGE);
  put(fd, bytes, 32 * PAGE, 0);
  OK(fsync(fd));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  char *at = shared(fd, 64 * PAGE);
  CHECK(OK(pread(fd, at + 32 * PAGE, 32 * PAGE, 0)) == 32 * PAGE);
  CHECK(is_all(at, 's', 64 * PAGE));
}

static void writing_from_a_mapping_of_the_same_file(void) {
  int fd = open_file("f", 64 * PAGE);
  char *bytes = malloc(32 * PAGE);
  memset(bytes, 'v', 32 * PAGE);
  put(fd, bytes, 32 * PAGE, 0);
  OK(fsync(fd));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  char *at = shared(fd, 64 * PAGE);
  put(fd, at, 32 * PAGE, 32 * PAGE); /* to other pages */
  put(fd, at + 100, PAGE, 200);      /* and to the very same */
  CHECK(is_all(at, 'v', 64 * PAGE));
}

static void writing_from_a_mapping_of_another_file(void) {
  int from = open_file("from", 128 * PAGE), to = open_file("to", 0);
  char *at = shared(from, 128 * PAGE);
  memset(at, 'o', 128 * PAGE);
  OK(msync(at, 128 * PAGE, MS_SYNC));
  OK(munmap(at, 128 * PAGE));
  OK(posix_fadvise(from, 0, 0, POSIX_FADV_DONTNEED));
  at = shared(from, 128 * PAGE);
  put(to, at, 128 * PAGE, 0);
  char *copy = shared(to, 128 * PAGE);
  CHECK(is_all(copy, 'o', 128 * PAGE));
}

static void direct_writes_are_seen_in_the_mapping(void) {
  int fd = open_file("f", 16 * PAGE);
  char *at = shared(fd, 16 * PAGE);
  CHECK(is_all(at, 0, 16 * PAGE));
  int direct = OK(open("f", O_RDWR | O_DIRECT));
  void *aligned = NULL;
  CHECK(posix_memalign(&aligned, PAGE, 4 * PAGE) == 0);
  memset(aligned, 'd', 4 * PAGE);
  put(direct, aligned, 4 * PAGE, 4 * PAGE);
  CHECK(is_all(at + 4 * PAGE, 'd', 4 * PAGE) && is_all(at, 0, 4 * PAGE));
  memset(at + 8 * PAGE, 'n', PAGE); /* and the other way: a direct read sees what was stored */
  CHECK(OK(pread(direct, aligned, PAGE, 8 * PAGE)) == PAGE);
  CHECK(is_all(aligned, 'n', PAGE));
}

static void stores_through_a_handle_for_append_stay_in_place(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0644));
  OK(ftruncate(fd, 2 * PAGE));
  char *at = shared(fd, 2 * PAGE);
  memset(at, 'k', PAGE);
  OK(write(fd, "end", 3));
  OK(msync(at, 2 * PAGE, MS_SYNC));
  OK(write(fd, "end", 3));
  CHECK(stat_of("f").st_size == 2 * PAGE + 6);
  char back[2 * PAGE + 6];
  get(fd, back, sizeof back, 0);
  CHECK(is_all(back, 'k', PAGE) && is_all(back + PAGE, 0, PAGE) && memcmp(back + 2 * PAGE, "endend", 6) == 0);
}

static void a_mapping_outlives_the_name(void) {
  int fd = open_file("f", 4 * PAGE);
  char *at = shared(fd, 4 * PAGE);
  OK(unlink("f"));
  memset(at, 'u', 4 * PAGE);
  OK(msync(at, 4 * PAGE, MS_SYNC));
  char back[PAGE];
  get(fd, back, PAGE, 3 * PAGE);
  CHECK(is_all(back, 'u', PAGE));
  OK(close(fd));
  CHECK(is_all(at, 'u', 4 * PAGE));
  memset(at, 'U', 4 * PAGE);
  OK(madvise(at, 4 * PAGE, MADV_DONTNEED));
  CHECK(is_all(at, 'U', 4 * PAGE));
}

static void a_mapping_follows_a_rename_and_a_replacement(void) {
  int fd = open_file("f", PAGE);
  char *at = shared(fd, PAGE);
  memset(at, '1', PAGE);
  OK(rename("f", "g"));
  at[0] = '2';
  make_file("h", "other");
  OK(rename("h", "g")); /* the mapped file has no name now */
  at[1] = '3';
  OK(msync(at, PAGE, MS_SYNC));
  CHECK(at[0] == '2' && at[1] == '3' && at[2] == '1');
  CHECK(stat_of("g").st_size == 5);
}

static void stores_move_mtime(void) {
  int fd = open_file("f", PAGE);
  struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
  OK(futimens(fd, old));
  char *at = shared(fd, PAGE);
  at[0] = 'x';
  OK(msync(at, PAGE, MS_SYNC));
  OK(fsync(fd));
  CHECK_SAYING(stat_of("f").st_mtime > 1000000, "mtime stayed at %ld", (long)stat_of("f").st_mtime);
}

static void stores_into_a_hole(void) {
  enum { FAR = 3000 };
  int fd = open_file("f", (off_t)FAR * PAGE);
  char *at = shared(fd, (size_t)FAR * PAGE);
  for (int i = 0; i < FAR; i += 100) at[i * PAGE + i % PAGE] = 'h';
  OK(msync(at, (size_t)FAR * PAGE, MS_SYNC));
  OK(munmap(at, (size_t)FAR * PAGE));
  OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  char back[PAGE];
  for (int i = 0; i < FAR; i += 50) {
    get(fd, back, PAGE, (off_t)i * PAGE);
    for (int j = 0; j < PAGE; j++) CHECK(back[j] == (i % 100 == 0 && j == i % PAGE ? 'h' : 0));
  }
}

static void mremap_and_populate(void) {
  int fd = open_file("f", 40 * PAGE);
  char *at = map(fd, 20 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE);
  memset(at, 'r', 20 * PAGE);
  at = mremap(at, 20 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
  CHECK(at != MAP_FAILED);
  CHECK(is_all(at, 'r', 20 * PAGE) && is_all(at + 20 * PAGE, 0, 20 * PAGE));
  OK(madvise(at, 40 * PAGE, MADV_WILLNEED));
  OK(msync(at, 40 * PAGE, MS_ASYNC));
  CHECK(is_all(at, 'r', 20 * PAGE));
}

/* Processes that store, write, read and truncate the same file for a while: nothing hangs, nothing foreign appears. */
static void processes_map_and_write_the_same_file(void) {
  enum { PAGES = 64, PROCESSES = 4 };
  OK(close(open_file("f", PAGES * PAGE)));
  fflush(NULL);
  pid_t children[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    children[p] = OK(fork());
    if (children[p] != 0) continue;
    unsigned seed = 99u + (unsigned)p;
    int fd = OK(open("f", O_RDWR));
    char *at = shared(fd, PAGES * PAGE), block[PAGE];
    for (int i = 0; i < 600; i++) {
      int page = rand_r(&seed) % (PAGES / PROCESSES) * PROCESSES + p; /* each process has pages of its own */
      int value = 'a' + rand_r(&seed) % 26;
      if (rand_r(&seed) % 2) memset(at + page * PAGE, value, PAGE);
      else {
        memset(block, value, PAGE);
        put(fd, block, PAGE, page * PAGE);
      }
      if (i % 50 == 0) OK(msync(at + page * PAGE, PAGE, MS_SYNC));
      get(fd, block, PAGE, page * PAGE);
      CHECK_SAYING(is_all(block, value, PAGE), "page %d, step %d: read shows something else", page, i);
      CHECK_SAYING(is_all(at + page * PAGE, value, PAGE), "page %d, step %d: the mapping shows something else", page, i);
    }
    _exit(0);
  }
  for (int p = 0; p < PROCESSES; p++) {
    int status;
    OK(waitpid(children[p], &status, 0));
    CHECK(status == 0);
  }
}

CASES({"writes-are-seen-in-the-mapping", writes_are_seen_in_the_mapping},
      {"stores-are-seen-by-read-without-msync", stores_are_seen_by_read_without_msync},
      {"two-processes-share-a-mapping", two_processes_share_a_mapping},
      {"stores-reach-the-file-after-close-and-munmap", stores_reach_the_file_after_close_and_munmap},
      {"stores-survive-msync-and-the-page-cache", stores_survive_msync_and_the_page_cache},
      {"pages-beyond-the-end-raise-sigbus", pages_beyond_the_end_raise_sigbus},
      {"truncation-takes-mapped-pages-away", truncation_takes_mapped_pages_away},
      {"bytes-past-the-end-in-the-last-page-are-not-kept", bytes_past_the_end_in_the_last_page_are_not_kept},
      {"truncation-zeroes-the-rest-of-the-page", truncation_zeroes_the_rest_of_the_page},
      {"private-stores-stay-private", private_stores_stay_private},
      {"a-descriptor-without-the-right-is-refused", a_descriptor_without_the_right_is_refused},
      {"reading-into-a-mapping-of-the-same-file", reading_into_a_mapping_of_the_same_file},
      {"writing-from-a-mapping-of-the-same-file", writing_from_a_mapping_of_the_same_file},
      {"writing-from-a-mapping-of-another-file", writing_from_a_mapping_of_another_file},
      {"direct-writes-are-seen-in-the-mapping", direct_writes_are_seen_in_the_mapping},
      {"stores-through-a-handle-for-append-stay-in-place", stores_through_a_handle_for_append_stay_in_place},
      {"a-mapping-outlives-the-name", a_mapping_outlives_the_name},
      {"a-mapping-follows-a-rename-and-a-replacement", a_mapping_follows_a_rename_and_a_replacement},
      {"stores-move-mtime", stores_move_mtime},
      {"stores-into-a-hole", stores_into_a_hole},
      {"mremap-and-populate", mremap_and_populate},
      {"processes-map-and-write-the-same-file", processes_map_and_write_the_same_file})

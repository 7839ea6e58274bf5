/* truncate, ftruncate and posix_fallocate: sizes, zeros, times, who may, and setuid bits. */
#include "posix.h"

static void sizes(void) {
  static const off_t wanted[] = {0, 1, 7, 4095, 4096, 4097, 65536, 1 << 20, (1 << 20) + 5, 1LL << 31, 1LL << 32, (1LL << 40) + 3};
  int count = sizeof wanted / sizeof *wanted;
  for (int by_descriptor = 0; by_descriptor < 2; by_descriptor++) {
    for (int from = 0; from < count; from++) {
      for (int to = 0; to < count; to++) {
        scope("%s from %lld to %lld", by_descriptor ? "ftruncate" : "truncate", (long long)wanted[from], (long long)wanted[to]);
        int fd = open("f", O_CREAT | O_TRUNC | O_RDWR, 0644);
        must(pwrite(fd, "x", 1, 0) == 1 && ftruncate(fd, wanted[from]) == 0, "ftruncate");
        OK(by_descriptor ? ftruncate(fd, wanted[to]) : truncate("f", wanted[to]));
        IS(wanted[to], size_of("f"));
        char c = 9;
        if (wanted[to] > 1) IS(1, pread(fd, &c, 1, wanted[to] - 1));
        if (wanted[to] > 1) IS(0, c);
        close(fd);
      }
    }
  }
}

static int all_zero(int fd, off_t start, int length) {
  static char bytes[70000];
  if (pread(fd, bytes, length, start) != length) return 0;
  for (int i = 0; i < length; i++)
    if (bytes[i] != 0) return 0;
  return 1;
}

/* What was cut off is gone: growing again shows zeros. */
static void zeros(void) {
  static const int lengths[] = {0, 1, 100, 4095, 4096, 4097, 9999};
  for (int i = 0; i < 7; i++) {
    scope("cut to %d", lengths[i]);
    int fd = open("f", O_CREAT | O_TRUNC | O_RDWR, 0644);
    must(write(fd, repeat('x', 4999), 4999) == 4999 && write(fd, repeat('y', 4999), 4999) == 4999, "write");
    OK(ftruncate(fd, lengths[i]));
    OK(ftruncate(fd, 20000));
    HOLDS(all_zero(fd, lengths[i] < 9998 ? lengths[i] : 9998, 20000 - (lengths[i] < 9998 ? 9998 : 9999)));
    char c = 0;
    if (lengths[i] > 0 && lengths[i] < 4999) { IS(1, pread(fd, &c, 1, lengths[i] - 1)); IS('x', c); }
    OK(truncate("f", 0));
    OK(truncate("f", 65536));
    HOLDS(all_zero(fd, 0, 65536));
    IS(1, pwrite(fd, "z", 1, 100000));
    HOLDS(all_zero(fd, 65536, 100000 - 65536));
    close(fd);
  }
}

static void times(void) {
  write_file("f", "text");
  int fd = open("f", O_RDWR);
  static const off_t to[] = {0, 123, 4096, 10};
  for (int i = 0; i < 4; i++) {
    scope("to %lld", (long long)to[i]);
    watch("f", "mc");
    watch(".", "");
    OK(truncate("f", to[i]));
    watched();
    watch("f", "mc");
    OK(ftruncate(fd, to[i] + 1));
    watched();
  }
  scope("to the same size");
  watch("f", "mc");
  OK(ftruncate(fd, 11));
  watched();
  scope("failing");
  watch("f", "");
  FAILS(EINVAL, truncate("f", -1));
  FAILS(EINVAL, ftruncate(fd, -1));
  FAILS(EINVAL, truncate("f", -(1LL << 62)));
  watched();
  close(fd);
}

static void refused(void) {
  for EACH_KIND(k) {
    if (k == REGULAR) continue;
    fresh();
    make(k, "f");
    scope("%s", kind_name[k]);
    FAILS(k == DIRECTORY ? EISDIR : k == SYMLINK ? ENOENT : EINVAL, truncate("f", 0));
    FAILS(k == DIRECTORY ? EISDIR : k == SYMLINK ? ENOENT : EINVAL, truncate("f", 10));
  }
  fresh();
  write_file("f", "text");
  scope("descriptors");
  int fd = open("f", O_RDONLY);
  FAILS_EITHER(EINVAL, EBADF, ftruncate(fd, 0));
  close(fd);
  FAILS(EBADF, ftruncate(fd, 0));
  FAILS(EBADF, ftruncate(-1, 0));
  IS(4, size_of("f"));
  must(symlink("f", "link") == 0, "symlink");
  OK(truncate("link", 2));
  IS(2, size_of("f"));
  scope("too large");
  FAILS_EITHER(EFBIG, EINVAL, truncate("f", 0x7fffffffffffffffLL));
  IS(2, size_of("f"));
}

static void who(void) {
  make_as(REGULAR, "f", 0644, OWNER_ID, OWNER_ID);
  watch("f", "");
  AS(OTHER, FAILS(EACCES, truncate("f", 0)));
  AS(MATE, FAILS(EACCES, truncate("f", 0)));
  watched();
  AS(OWNER, OK(truncate("f", 7)));
  must(chmod("f", 0444) == 0, "chmod");
  AS(OWNER, FAILS(EACCES, truncate("f", 0)));
  IS(7, size_of("f"));
  OK(truncate("f", 8));
  must(chmod("f", 0666) == 0, "chmod");
  int fd = open("f", O_RDWR);
  must(chmod("f", 0) == 0, "chmod");
  AS(OTHER, OK(ftruncate(fd, 9)));
  IS(9, size_of("f"));
  close(fd);
}

/* Whoever changes the content without being root takes the privileges away. */
static void set_ids(void) {
  static const mode_t modes[] = {04777, 02777, 06777, 02767, 06666, 0777};
  static const struct user *const users[] = {&OWNER, &MATE, &OTHER};
  for (int m = 0; m < 6; m++) {
    for (int u = 0; u < 3; u++) {
      for (int how = 0; how < 5; how++) {
        fresh();
        make_as(REGULAR, "f", modes[m], OWNER_ID, OWNER_ID);
        static const char *const hows[] = {"write", "truncate", "ftruncate", "O_TRUNC", "pwrite"};
        scope("%s of mode %04o", hows[how], modes[m]);
        struct stat st;
        AS(*users[u], {
          int fd = open("f", O_RDWR | (how == 3 ? O_TRUNC : 0));
          if (how == 0) IS(1, write(fd, "x", 1));
          if (how == 1) OK(truncate("f", 5));
          if (how == 2) OK(ftruncate(fd, 5));
          if (how == 4) IS(1, pwrite(fd, "x", 1, 50));
          /* Setgid without group execution is for members of the group to keep. */
          mode_t kept = modes[m] & ~04000;
          if ((kept & 010) || users[u] == &OTHER) kept &= ~02000;
          if (modes[m] == 02767 || modes[m] == 06666) kept = (kept & ~02000) | (mode_of("f") & 02000);
          OK(fstat(fd, &st));
          IS(kept, st.st_mode & 07777);
          close(fd);
        });
        IS(st.st_mode & 07777, mode_of("f"));
      }
    }
  }
  fresh();
  make_as(REGULAR, "f", 06777, OWNER_ID, OWNER_ID);
  scope("by root");
  int fd = open("f", O_RDWR);
  IS(1, write(fd, "x", 1));
  IS(06777, mode_of("f"));
  OK(ftruncate(fd, 0));
  IS(06777, mode_of("f"));
  close(fd);
}

static void allocation(void) {
  static const struct { off_t before, offset, length, after; } wanted[] = {
      {0, 0, 567, 567}, {12345, 20000, 3456, 23456}, {100, 0, 10, 100}, {100, 50, 50, 100}, {100, 50, 51, 101}, {0, 1 << 20, 1, (1 << 20) + 1}};
  for (int i = 0; i < 6; i++) {
    scope("%lld bytes at %lld of %lld", (long long)wanted[i].length, (long long)wanted[i].offset, (long long)wanted[i].before);
    int fd = open("f", O_CREAT | O_TRUNC | O_RDWR, 0644);
    must(ftruncate(fd, wanted[i].before) == 0, "ftruncate");
    IS(0, posix_fallocate(fd, wanted[i].offset, wanted[i].length));
    IS(wanted[i].after, size_of("f"));
    close(fd);
  }
  scope("refused");
  int fd = open("f", O_RDWR);
  watch("f", "");
  IS(EINVAL, posix_fallocate(fd, 0, 0));
  IS(EINVAL, posix_fallocate(fd, -1, 10));
  IS(EINVAL, posix_fallocate(fd, 0, -1));
  IS(EBADF, posix_fallocate(-1, 0, 10));
  watched();
  scope("times");
  watch("f", "Mc");
  IS(0, posix_fallocate(fd, 0, 9 << 20));
  watched();
  close(fd);
  fd = open("f", O_RDONLY);
  IS(EBADF, posix_fallocate(fd, 0, 10));
  close(fd);
  make(FIFO, "p");
  fd = open("p", O_RDWR);
  IS(ESPIPE, posix_fallocate(fd, 0, 10));
  close(fd);
  fd = open("new", O_CREAT | O_RDWR, 0);
  IS(0, posix_fallocate(fd, 0, 1));
  IS(1, size_of("new"));
  close(fd);
}

const struct part parts_of_truncate[] = {{"truncate: sizes", sizes, 0},
                                           {"truncate: zeros", zeros, 0},
                                           {"truncate: times", times, 0},
                                           {"truncate: refused", refused, 0},
                                           {"truncate: who may", who, NEEDS_ROOT},
                                           {"truncate: setuid and setgid", set_ids, NEEDS_ROOT},
                                           {"posix_fallocate", allocation, 0},
                                           {NULL, NULL, 0}};

/* unlink and rmdir. */
#include "posix.h"

static void removes(void) {
  for EACH_KIND(k) {
    fresh();
    make(k, "f");
    make(DIRECTORY, "d");
    long long links = nlink_of(".");
    scope("%s", kind_name[k]);
    watch(".", k == DIRECTORY ? "" : "mc");
    FAILS(k == DIRECTORY ? EISDIR : 0, unlink("f"));
    watched();
    IS(k == DIRECTORY, exists("f"));
    IS(links, nlink_of("."));
    if (k != DIRECTORY) {
      make(k, "f");
      watch("f", "");
      watch(".", "");
      FAILS(ENOTDIR, rmdir("f"));
      watched();
    } else {
      watch(".", "mc");
      OK(rmdir("f"));
      watched();
      IS(links - 1, nlink_of("."));
      make(k, "f");
    }
    OK(unlinkat(AT_FDCWD, "f", k == DIRECTORY ? AT_REMOVEDIR : 0));
    IS(0, exists("f"));
    FAILS(ENOENT, unlink("f"));
    FAILS(ENOENT, rmdir("f"));
    FAILS(EINVAL, unlinkat(AT_FDCWD, "d", 0x1));
    IS(1, exists("d"));
  }
}

static void of_open_files(void) {
  struct stat st;
  char text[20];
  make(REGULAR, "f");
  int fd = open("f", O_RDWR);
  IS(5, write(fd, "hello", 5));
  watch("f", "c");
  OK(unlink("f"));
  watched();
  OK(fstat(fd, &st));
  IS(0, st.st_nlink);
  IS(5, st.st_size);
  IS(5, pread(fd, text, sizeof text, 0));
  HOLDS(memcmp(text, "hello", 5) == 0);
  IS(6, pwrite(fd, " world", 6, 5));
  IS(11, pread(fd, text, sizeof text, 0));
  HOLDS(memcmp(text, "hello world", 11) == 0);
  OK(ftruncate(fd, 3));
  OK(fstat(fd, &st));
  IS(3, st.st_size);
  OK(ftruncate(fd, 1000));
  OK(fchmod(fd, 0123));
  struct timespec times[2] = {{1, 2}, {3, 4}};
  OK(futimens(fd, times));
  OK(fstat(fd, &st));
  IS(1000, st.st_size);
  IS(0123, st.st_mode & 07777);
  IS(3, st.st_mtim.tv_sec);
  OK(fsync(fd));
  make(REGULAR, "f");
  HOLDS(ino_of("f") != (long long)st.st_ino);
  IS(0, size_of("f"));
  OK(fstat(fd, &st));
  IS(1000, st.st_size);
  OK(close(fd));
}

static void of_open_kinds(void) {
  for EACH_KIND(k) {
    fresh();
    make(k, "f");
    scope("%s", kind_name[k]);
    int fd = open("f", O_PATH | O_NOFOLLOW);
    struct stat st;
    long long ino = ino_of("f");
    OK(k == DIRECTORY ? rmdir("f") : unlink("f"));
    OK(fstat(fd, &st));
    IS(0, st.st_nlink);
    IS(ino, st.st_ino);
    close(fd);
  }
}

static void of_links(void) {
  for EACH_KIND(k) {
    if (k == DIRECTORY) continue;
    fresh();
    make(k, "a");
    must(link("a", "b") == 0, "link");
    scope("%s with two names", kind_name[k]);
    watch("b", "c");
    OK(unlink("a"));
    watched();
    IS(1, nlink_of("b"));
  }
}

static void rmdir_refused(void) {
  for EACH_KIND(k) {
    fresh();
    make(DIRECTORY, "d");
    make(k, "d/f");
    scope("with a %s in it", kind_name[k]);
    watch("d", "");
    watch(".", "");
    FAILS_EITHER(ENOTEMPTY, EEXIST, rmdir("d"));
    watched();
    IS(1, exists("d/f"));
    erase("d/f");
    OK(rmdir("d"));
  }
  scope("special names");
  make(DIRECTORY, "d");
  make(DIRECTORY, "d/e");
  FAILS(EINVAL, rmdir("d/e/."));
  FAILS(EINVAL, rmdir("."));
  FAILS_EITHER(ENOTEMPTY, EEXIST, rmdir("d/e/.."));
  FAILS_EITHER(ENOTEMPTY, EEXIST, rmdir(".."));
  FAILS_EITHER(EISDIR, EPERM, unlink("."));
  FAILS_EITHER(EISDIR, EPERM, unlink("d/."));
  FAILS_EITHER(EISDIR, EPERM, unlink("d/.."));
  FAILS(EISDIR, unlink("d/"));
  OK(rmdir("d/e/"));
  OK(rmdir("d//"));
  FAILS(EBADF, unlinkat(-1, "x", 0));
}

/* Who is in a directory that was removed finds nothing there and makes nothing. */
static void inside_removed(void) {
  struct stat st;
  int here = open(".", O_PATH);
  make(DIRECTORY, "d");
  must(chdir("d") == 0, "chdir");
  OK(rmdir("../d"));
  OK(stat(".", &st));
  IS(0, st.st_nlink);
  FAILS(ENOENT, mkdir("x", 0755));
  FAILS(ENOENT, opens("x", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOENT, symlink("t", "x"));
  FAILS(ENOENT, mkfifo("x", 0644));
  FAILS(ENOENT, opens("x", O_RDONLY, 0));
  FAILS(ENOENT, rename("../d", "x"));
  char text[100];
  HOLDS(getcwd(text, sizeof text) == NULL && errno == ENOENT);
  must(fchdir(here) == 0, "fchdir");
  make(REGULAR, "f");
  make(DIRECTORY, "d");
  int gone = open("d", O_RDONLY);
  OK(rmdir("d"));
  FAILS(ENOENT, linkat(AT_FDCWD, "f", gone, "x", 0));
  FAILS(ENOENT, renameat(AT_FDCWD, "f", gone, "x"));
  FAILS(ENOENT, openat(gone, "x", O_CREAT | O_RDWR, 0644));
  FAILS(ENOENT, mkdirat(gone, "x", 0755));
  IS(1, exists("f"));
  close(gone);
  close(here);
}

static void without_rights(void) {
  for EACH_KIND(k) {
    fresh();
    make_as(DIRECTORY, "d", 0755, MATE_ID, MATE_ID);
    make_as(k, "d/f", 0777, OWNER_ID, OWNER_ID);
    scope("%s", kind_name[k]);
    watch("d", "");
    watch("d/f", "");
    AS(OWNER, FAILS(EACCES, k == DIRECTORY ? rmdir("d/f") : unlink("d/f")));
    AS(OTHER, FAILS(EACCES, k == DIRECTORY ? rmdir("d/f") : unlink("d/f")));
    watched();
    AS(MATE, OK(k == DIRECTORY ? rmdir("d/f") : unlink("d/f")));
  }
}

const struct part parts_of_unlink[] = {{"unlink: kinds", removes, 0},
                                         {"unlink: open files", of_open_files, 0},
                                         {"unlink: held things", of_open_kinds, 0},
                                         {"unlink: one of two names", of_links, 0},
                                         {"rmdir: refused", rmdir_refused, 0},
                                         {"rmdir: inside a removed directory", inside_removed, 0},
                                         {"unlink: without rights", without_rights, NEEDS_ROOT},
                                         {NULL, NULL, 0}};

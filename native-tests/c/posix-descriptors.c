/* Calls relative to an open directory, through /proc/self/fd, and reading directories. */
#include "posix.h"
#include <dirent.h>

static void relative(void) {
  struct stat st;
  char text[32];
  make(DIRECTORY, "d");
  int dir = open("d", O_RDONLY | O_DIRECTORY);
  OK(mkdirat(dir, "sub", 0755));
  OK(mkfifoat(dir, "fifo", 0600));
  OK(mknodat(dir, "sock", S_IFSOCK | 0600, 0));
  OK(symlinkat("to", dir, "link"));
  int fd = openat(dir, "f", O_CREAT | O_RDWR, 0644);
  HOLDS(fd >= 0);
  close(fd);
  OK(linkat(dir, "f", dir, "hard", 0));
  IS(2, nlink_of("d/f"));
  OK(fchmodat(dir, "f", 0611, 0));
  IS(0611, mode_of("d/hard"));
  IS(2, readlinkat(dir, "link", text, sizeof text));
  OK(fstatat(dir, "sub", &st, 0));
  OK(faccessat(dir, "sub", X_OK, 0));
  OK(renameat(dir, "f", AT_FDCWD, "moved"));
  IS(2, nlink_of("moved"));
  OK(renameat(AT_FDCWD, "moved", dir, "back"));
  OK(utimensat(dir, "back", NULL, 0));
  /* A directory that was renamed is still the one. */
  OK(rename("d", "e"));
  OK(fstatat(dir, "back", &st, 0));
  IS(ino_of("e/back"), st.st_ino);
  OK(unlinkat(dir, "back", 0));
  OK(unlinkat(dir, "hard", 0));
  OK(unlinkat(dir, "sub", AT_REMOVEDIR));
  FAILS(ENOENT, unlinkat(dir, "sub", AT_REMOVEDIR));
  FAILS(ENOTDIR, unlinkat(dir, "fifo", AT_REMOVEDIR));
  IS(0, exists("d"));
  close(dir);
}

static void proc_links(void) {
  char path[64], text[16];
  write_file("f", "text");
  int fd = open("f", O_RDONLY);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  OK(chmod(path, 0640));
  IS(0640, mode_of("f"));
  OK(rename("f", "g"));
  int again = open(path, O_RDWR);
  HOLDS(again >= 0);
  IS(4, write(again, "more", 4));
  IS(4, pread(fd, text, 4, 0));
  HOLDS(memcmp(text, "more", 4) == 0);
  OK(unlink("g"));
  int gone = open(path, O_RDWR);
  HOLDS(gone >= 0);
  IS(4, pread(gone, text, 4, 0));
  OK(truncate(path, 2));
  struct stat st;
  OK(stat(path, &st));
  IS(2, st.st_size);
  IS(0, st.st_nlink);
  close(gone);
  close(again);
  close(fd);
}

static int count_names(const char *path, int *dots) {
  DIR *dir = opendir(path);
  must(dir != NULL, path);
  int count = 0;
  *dots = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) ++*dots;
    else count++;
  }
  closedir(dir);
  return count;
}

static void counting(void) {
  int dots;
  char name[64];
  make(DIRECTORY, "d");
  IS(0, count_names("d", &dots));
  IS(2, dots);
  for (int i = 1; i <= 2500; i++) {
    snprintf(name, sizeof name, "d/name-%d", i);
    must(mknod(name, S_IFREG | 0644, 0) == 0, name);
    if (i % 500 == 1) IS(i, count_names("d", &dots));
  }
  IS(2500, count_names("d", &dots));
  for (int i = 1; i <= 2500; i += 2) {
    snprintf(name, sizeof name, "d/name-%d", i);
    must(unlink(name) == 0, name);
  }
  IS(1250, count_names("d", &dots));
}

static void types_of_entries(void) {
  static const unsigned char types[KINDS] = {DT_REG, DT_DIR, DT_FIFO, DT_BLK, DT_CHR, DT_SOCK, DT_LNK};
  make(DIRECTORY, "d");
  for EACH_KIND(k) {
    char name[32];
    snprintf(name, sizeof name, "d/%s", kind_name[k]);
    make(k, name);
  }
  DIR *dir = opendir("d");
  int seen = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char name[300];
    snprintf(name, sizeof name, "d/%s", entry->d_name);
    scope("%s", entry->d_name);
    IS(ino_of(name), entry->d_ino);
    for EACH_KIND(k) if (strcmp(entry->d_name, kind_name[k]) == 0) { IS(types[k], entry->d_type); seen++; }
  }
  closedir(dir);
  IS(am_root ? 7 : 5, seen);
}

/* Everything can be removed while it is being listed. */
static void removing_while_listing(void) {
  char name[300];
  make(DIRECTORY, "d");
  for (int i = 0; i < 3000; i++) {
    snprintf(name, sizeof name, "d/some-longer-name-%d", i);
    must(mknod(name, S_IFREG | 0644, 0) == 0, name);
  }
  DIR *dir = opendir("d");
  int removed = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    removed += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
  }
  closedir(dir);
  IS(3000, removed);
  OK(rmdir("d"));
}

const struct part parts_of_descriptors[] = {{"descriptors: relative calls", relative, 0},
                                              {"descriptors: /proc/self/fd", proc_links, 0},
                                              {"readdir: counting", counting, 0},
                                              {"readdir: types and numbers", types_of_entries, 0},
                                              {"readdir: removing meanwhile", removing_while_listing, 0},
                                              {NULL, NULL, 0}};

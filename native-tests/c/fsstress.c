/*
 * Many processes that change one tree at random, and a check that the tree is sound afterwards.
 *   fsstress run SEED PROCESSES OPERATIONS DIR   ends with 1 after an error that no race explains (EIO, ESTALE, ...)
 *   fsstress check DIR                           prints a line for each name: path, inode, links, mode, owner, size,
 *                                                device and attributes; ends with 1 where the tree contradicts itself
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static unsigned seed, state;
static int process;
static long operation;
static const char *doing = "nothing";
static long done[32];

static long pick(long below) { return below <= 0 ? 0 : rand_r(&state) % below; }

static void die(const char *format, ...) {
  int error = errno;
  va_list arguments;
  fprintf(stderr, "seed %u, process %d, operation %ld, %s: ", seed, process, operation, doing);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, " (errno %d: %s)\n", error, strerror(error));
  exit(1);
}

/* What other processes, or this tree, can be the reason of. */
static int is_explained(int error) {
  switch (error) {
    case ENOENT: case EEXIST: case ENOTDIR: case EISDIR: case ENOTEMPTY: case EINVAL: case EPERM: case ELOOP:
    case ENODATA: case ENXIO: case ENAMETOOLONG: case EOPNOTSUPP: case EMLINK: return 1;
    case EACCES: return 1; /* opening a device where the mount has nodev: the programs run as root */
    case ENOSPC: return strcmp(doing, "setxattr") == 0; /* a local disk has little room for attributes */
    default: return 0;
  }
}

static int tried(int result, const char *path) {
  if (result == -1 && !is_explained(errno)) die("%s", path);
  return result;
}

/* A name two or three levels down, of few, so that processes meet. */
static const char *name(char *path) {
  path[0] = 0;
  for (long levels = pick(3); levels > 0; levels--) sprintf(path + strlen(path), "d%ld/", pick(4));
  static const char *const kinds[] = {"d", "f", "f", "f", "l", "n"};
  sprintf(path + strlen(path), "%s%ld", kinds[pick(6)], pick(7));
  return path;
}

static void with_file(int flags, void (*body)(int fd, const char *path)) {
  char path[128];
  name(path);
  int fd = tried(open(path, flags | O_NONBLOCK | O_NOFOLLOW, 0644), path);
  if (fd < 0) return;
  struct stat st;
  if (fstat(fd, &st) != 0) die("fstat %s", path);
  if (S_ISREG(st.st_mode)) body(fd, path);
  if (close(fd) != 0) die("close %s", path);
}

static char block[100000];

static void write_some(int fd, const char *path) {
  long length = 1 + pick(pick(3) == 0 ? (long)sizeof block : 3000);
  memset(block, 'a' + (int)pick(26), (size_t)length);
  if (tried((int)pwrite(fd, block, (size_t)length, pick(300000)), path) != length) die("a short write of %s", path);
}
static void read_some(int fd, const char *path) { tried((int)pread(fd, block, sizeof block, pick(300000)), path); }
static void truncate_some(int fd, const char *path) { tried(ftruncate(fd, pick(400000)), path); }
static void sync_some(int fd, const char *path) { tried(pick(2) ? fsync(fd) : fdatasync(fd), path); }
static void map_some(int fd, const char *path) {
  struct stat st;
  if (fstat(fd, &st) != 0) die("fstat %s", path);
  if (st.st_size == 0) return;
  char *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0); /* not touched: others truncate */
  if (at == MAP_FAILED) die("mmap %s", path);
  munmap(at, 4096);
}
static void allocate_some(int fd, const char *path) {
  static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
  tried(fallocate(fd, modes[pick(4)], pick(300000), 1 + pick(100000)), path);
}
static void unlink_and_use(int fd, const char *path) {
  if (tried(unlink(path), path) == 0) {
    write_some(fd, path);
    truncate_some(fd, path);
  }
}
static void copy_some(int fd, const char *path) {
  char other[128];
  int to = tried(open(name(other), O_WRONLY | O_CREAT | O_NONBLOCK | O_NOFOLLOW, 0644), other);
  if (to < 0) return;
  loff_t in = pick(100000), out = pick(100000);
  tried((int)copy_file_range(fd, &in, to, &out, 50000, 0), path);
  close(to);
}

static void list_some(void) {
  char path[128];
  DIR *dir = opendir(pick(3) == 0 ? "." : name(path));
  if (dir == NULL) {
    tried(-1, path);
    return;
  }
  errno = 0;
  while (readdir(dir) != NULL) {}
  tried(errno == 0 ? 0 : -1, path);
  closedir(dir);
}

static void attribute_some(const char *path) {
  char key[32], value[3000];
  sprintf(key, "%s.a%ld", pick(4) == 0 ? "trusted" : "user", pick(4));
  memset(value, 'v', sizeof value);
  switch (pick(4)) {
    case 0: tried((int)lgetxattr(path, key, value, sizeof value), path); break;
    case 1: tried(lremovexattr(path, key), path); break;
    case 2: tried((int)llistxattr(path, value, sizeof value), path); break;
    default: tried(lsetxattr(path, key, value, (size_t)pick(pick(5) == 0 ? 3000 : 100), 0), path);
  }
}

static void temporary_some(const char *path) {
  char from[64];
  int fd = tried(open(".", O_TMPFILE | O_RDWR, 0600), "O_TMPFILE");
  if (fd < 0) return;
  write_some(fd, "O_TMPFILE");
  sprintf(from, "/proc/self/fd/%d", fd);
  if (pick(2)) tried(linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW), path);
  close(fd);
}

/* Files and directories that the process goes on with, whatever their names are by then. */
enum { KEPT = 6 };
static int kept[KEPT] = {-1, -1, -1, -1, -1, -1};

static void keep_one(const char *path) {
  int *at = &kept[pick(KEPT)];
  if (*at != -1 && close(*at) != 0) die("close");
  *at = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
  if (*at == -1 && errno == EISDIR) *at = open(path, O_RDONLY | O_DIRECTORY);
  tried(*at, path);
}

static void use_file(int fd, const char *path) {
  char from[64];
  switch (pick(6)) {
    case 0: write_some(fd, path); break;
    case 1: truncate_some(fd, path); break;
    case 2: tried(fchmod(fd, 0600 | (mode_t)pick(0200)), path); break;
    case 3: tried(fchown(fd, (uid_t)pick(5), (gid_t)pick(5)), path); break;
    case 4: tried(fsetxattr(fd, "user.kept", "v", 1, 0), path); break;
    default:
      sprintf(from, "/proc/self/fd/%d", fd);
      tried(linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW), path);
  }
}

static void use_directory(int dir, const char *path) {
  char own[16];
  sprintf(own, "%s%ld", pick(2) ? "f" : "d", pick(7));
  int fd = -1;
  switch (pick(6)) {
    case 0: tried(mkdirat(dir, own, 0755), own); break;
    case 1: fd = tried(openat(dir, own, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOFOLLOW, 0644), own); break;
    case 2: tried(unlinkat(dir, own, pick(2) ? AT_REMOVEDIR : 0), own); break;
    case 3: tried(renameat(dir, own, AT_FDCWD, path), own); break;
    case 4: tried(renameat(AT_FDCWD, path, dir, own), own); break;
    default: tried(fchmod(dir, 0700 | (mode_t)pick(0100)), own);
  }
  if (fd != -1 && close(fd) != 0) die("close %s", own);
}

static void use_kept(const char *path) {
  int fd = kept[pick(KEPT)];
  if (fd == -1) return;
  struct stat st;
  if (fstat(fd, &st) != 0) die("fstat");
  if (S_ISREG(st.st_mode)) use_file(fd, path);
  if (S_ISDIR(st.st_mode)) use_directory(fd, path);
}

static void step(void) {
  char a[128], b[128];
  static const char *const names[] = {"create", "mkdir", "mknod", "symlink", "link", "rename", "exchange", "unlink", "rmdir",
                                      "write", "read", "truncate", "setxattr", "chmod", "chown", "utimens", "readdir",
                                      "fsync", "tmpfile", "fallocate", "stat", "unlink while open", "mmap", "copy", "no replace", "open and keep",
                                      "use what is open"};
  enum { KINDS = sizeof names / sizeof *names };
  int kind = (int)pick(KINDS);
  doing = names[kind];
  name(a);
  name(b);
  struct stat st;
  struct timespec times[2] = {{pick(2000000000), pick(1000000000)}, {pick(2000000000), pick(1000000000)}};
  switch (kind) {
    case 0: with_file(O_CREAT | O_RDWR | (pick(2) ? O_EXCL : 0), write_some); break;
    case 1: tried(mkdir(a, 0755), a); break;
    case 2: tried(mknod(a, (pick(2) ? S_IFIFO : S_IFCHR) | 0600, makedev(120, (unsigned)pick(256))), a); break; /* no device's number */
    case 3: tried(symlink(b, a), a); break;
    case 4: tried(link(a, b), a); break;
    case 5: tried(rename(a, b), a); break;
    case 6: tried(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), a); break;
    case 7: tried(unlink(a), a); break;
    case 8: tried(rmdir(a), a); break;
    case 9: with_file(O_WRONLY | O_CREAT | (pick(4) == 0 ? O_APPEND : 0), write_some); break;
    case 10: with_file(O_RDONLY, read_some); break;
    case 11: with_file(O_RDWR | (pick(3) == 0 ? O_TRUNC : 0), truncate_some); break;
    case 12: attribute_some(a); break;
    case 13: tried(chmod(a, 0600 | (mode_t)pick(0200)), a); break;
    case 14: tried(lchown(a, (uid_t)pick(5), (gid_t)pick(5)), a); break;
    case 15: tried(utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW), a); break;
    case 16: list_some(); break;
    case 17: with_file(O_RDWR, sync_some); break;
    case 18: temporary_some(a); break;
    case 19: with_file(O_RDWR | O_CREAT, allocate_some); break;
    case 20: tried(lstat(a, &st), a); break;
    case 21: with_file(O_RDWR, unlink_and_use); break;
    case 22: with_file(O_RDONLY, map_some); break;
    case 23: with_file(O_RDONLY, copy_some); break;
    case 24: tried(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE), a); break;
    case 25: keep_one(a); break;
    default:
      for (long more = pick(4); more >= 0; more--) use_kept(a);
  }
  done[kind]++;
}

static int run(int processes, long operations) {
  fflush(NULL);
  for (process = 0; process < processes; process++) {
    pid_t child = fork();
    if (child == -1) die("fork");
    if (child != 0) continue;
    state = seed * 7919u + (unsigned)process * 104729u + 1;
    for (operation = 0; operation < operations; operation++) step();
    exit(0);
  }
  int failed = 0, status;
  while (wait(&status) != -1) failed |= status != 0;
  return failed;
}

/* One line for each name found; the links of each inode are counted. */
static struct found {
  ino_t ino;
  nlink_t links, seen;
  int is_dir;
} *all;
static size_t count, room;
static int contradictions;

static void contradiction(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  contradictions++;
}

static struct found *find(ino_t ino) {
  for (size_t i = 0; i < count; i++)
    if (all[i].ino == ino) return &all[i];
  return NULL;
}

static void attributes_of(const char *path) {
  char names[4096], value[65536];
  ssize_t length = llistxattr(path, names, sizeof names);
  if (length < 0 && errno != EOPNOTSUPP) die("llistxattr %s", path);
  uint64_t sum = 0; /* of all, in any order */
  for (char *key = names; key < names + length; key += strlen(key) + 1) {
    ssize_t bytes = lgetxattr(path, key, value, sizeof value);
    if (bytes < 0) die("lgetxattr %s %s", path, key);
    uint64_t one = 14695981039346656037u;
    for (char *at = key; *at != 0; at++) one = (one ^ (unsigned char)*at) * 1099511628211u;
    for (ssize_t i = 0; i < bytes; i++) one = (one ^ (unsigned char)value[i]) * 1099511628211u;
    sum += one;
  }
  printf(" %016lx\n", (unsigned long)sum);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void walk(const char *directory, nlink_t links) {
  struct dirent **entries;
  int names = scandir(directory, &entries, NULL, by_name);
  if (names < 0) die("scandir %s", directory);
  nlink_t directories = 2;
  for (int i = 0; i < names; i++) {
    const char *own = entries[i]->d_name;
    if (i > 0 && strcmp(own, entries[i - 1]->d_name) == 0) contradiction("%s/%s is listed twice", directory, own);
    if (strcmp(own, ".") == 0 || strcmp(own, "..") == 0) continue;
    char path[4096];
    sprintf(path, "%s/%s", directory, own);
    struct stat st;
    if (lstat(path, &st) != 0) {
      contradiction("%s is listed, and lstat says %s", path, strerror(errno));
      continue;
    }
    if (st.st_ino != entries[i]->d_ino) contradiction("%s: d_ino %lu, st_ino %lu", path, entries[i]->d_ino, st.st_ino);
    if ((st.st_mode & S_IFMT) != (mode_t)DTTOIF(entries[i]->d_type)) contradiction("%s: d_type %d", path, entries[i]->d_type);
    printf("%s %lu %lu %o %u:%u %ld %lx", path, st.st_ino, (unsigned long)st.st_nlink, st.st_mode, st.st_uid, st.st_gid,
           S_ISDIR(st.st_mode) ? 0 : (long)st.st_size, (unsigned long)st.st_rdev);
    attributes_of(path);
    struct found *known = find(st.st_ino);
    if (known == NULL) {
      if (count == room) all = realloc(all, (room = room * 2 + 64) * sizeof *all);
      all[count++] = (struct found){st.st_ino, st.st_nlink, 1, S_ISDIR(st.st_mode)};
    } else {
      known->seen++;
      if (known->is_dir) contradiction("%s: two directories are inode %lu", path, st.st_ino);
    }
    if (S_ISDIR(st.st_mode)) {
      directories++;
      walk(path, st.st_nlink);
    }
    free(entries[i]);
  }
  free(entries);
  if (links != directories) contradiction("%s has %lu links and %lu directories", directory, (unsigned long)links, (unsigned long)directories - 2);
}

static int check(void) {
  struct stat st;
  if (stat(".", &st) != 0) die("stat");
  walk(".", st.st_nlink);
  for (size_t i = 0; i < count; i++)
    if (!all[i].is_dir && all[i].links != all[i].seen)
      contradiction("inode %lu has %lu links and %lu names", all[i].ino, (unsigned long)all[i].links, (unsigned long)all[i].seen);
  return contradictions != 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "check") == 0) return chdir(argv[2]) != 0 ? 2 : check();
  if (argc != 6 || strcmp(argv[1], "run") != 0 || chdir(argv[5]) != 0) {
    fprintf(stderr, "use: fsstress run SEED PROCESSES OPERATIONS DIR | check DIR\n");
    return 2;
  }
  seed = (unsigned)strtoul(argv[2], NULL, 10);
  printf("seed %u\n", seed);
  return run(atoi(argv[3]), atol(argv[4]));
}

/*
 * posix list: names the parts that this user can run.
 * posix DIRECTORY [PART...]: runs all, or those named, in an empty directory of the file system under test. Prints each
 * failed case and, last, how many there were.
 */
#include "posix.h"
#include <dirent.h>
#include <ftw.h>
#include <grp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>

const struct user ROOT = {"root", 0, 0, 0, {0}};
const struct user OWNER = {"owner", OWNER_ID, OWNER_ID, 1, {SHARED_GID}};
const struct user MATE = {"mate", MATE_ID, MATE_ID, 2, {OWNER_ID, SHARED_GID}};
const struct user OTHER = {"other", OTHER_ID, OTHER_ID, 0, {0}};

int am_root;
const char *const kind_name[KINDS] = {"regular", "dir", "fifo", "block", "char", "socket", "symlink"};

static const struct part *const all[] = {
    parts_of_paths,    parts_of_access, parts_of_chmod,    parts_of_chown,         parts_of_create, parts_of_link,
    parts_of_mkdir,    parts_of_open,   parts_of_rename,   parts_of_rename_matrix, parts_of_unlink, parts_of_sticky,
    parts_of_truncate, parts_of_times,  parts_of_descriptors, parts_of_data,
    parts_of_versions};

static const char *part_now = "";
static const char *user_now = "";
static char scope_now[200];
static long cases, failures;

static void report(int held, const char *what, int line, const char *format, ...) {
  cases++;
  if (held) return;
  failures++;
  printf("not ok %s:%d %s%s%s: %s: ", part_now, line, scope_now, *user_now ? " as " : "", user_now, what);
  va_list rest;
  va_start(rest, format);
  vprintf(format, rest);
  va_end(rest);
  putchar('\n');
}

static const char *error_name(int error) { return error == 0 ? "success" : strerrorname_np(error); }

/*
 * With POSIX_COMMIT, the path of an artifact's control file, the artifact is committed before every 31st call: things
 * of a version and things half changed since must behave as new ones do.
 */
static const char *commit_file;

void settle(void) {
  static long calls;
  if (commit_file == NULL || ++calls % 31 != 0) return;
  uid_t uid = geteuid();
  must(!am_root || seteuid(0) == 0, "seteuid");
  int fd = open(commit_file, O_WRONLY);
  must(fd >= 0 && (write(fd, "settle", 6) == 6 || errno == ENODATA) && close(fd) == 0, commit_file);
  must(!am_root || seteuid(uid) == 0, "seteuid");
}

void expect_result(int expected, int or_else, long result, int error, const char *call, int line) {
  int got = result < 0 ? error : 0;
  report(got == expected || got == or_else, call, line, "expected %s, got %s", error_name(expected), error_name(got));
}

void expect_value(long long expected, long long actual, const char *what, int line) {
  report(expected == actual, what, line, "expected %lld (0%llo), got %lld (0%llo)", expected, expected, actual, actual);
}

void expect_true(int held, const char *what, int line) { report(held, what, line, "does not hold"); }

void scope(const char *format, ...) {
  va_list rest;
  va_start(rest, format);
  vsnprintf(scope_now, sizeof scope_now, format, rest);
  va_end(rest);
}

void must(int done, const char *what) {
  if (done) return;
  printf("not ok %s: %s: cannot go on: %s: %s\n", part_now, scope_now, what, strerror(errno));
  exit(2);
}

/* The effective ids decide about files; the real ones stay root's, so that the way back is open. */
void become(const struct user *user) {
  if (!am_root) return;
  must(seteuid(0) == 0 && setegid(0) == 0, "become root");
  must(setgroups(user->group_count, user->groups) == 0, "setgroups");
  must(setegid(user->gid) == 0 && seteuid(user->uid) == 0, "become somebody");
  user_now = user->uid == 0 ? "" : user->name;
}

int binds(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  int result = bind(fd, (struct sockaddr *)&address, sizeof address);
  int error = errno;
  close(fd);
  errno = error;
  return result;
}

int opens(const char *path, int flags, mode_t mode) {
  int fd = open(path, flags | O_NONBLOCK, mode);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

void make(enum kind kind, const char *path) {
  int result = -1;
  mode_t mask = umask(0);
  switch (kind) {
    case REGULAR: result = opens(path, O_CREAT | O_EXCL | O_WRONLY, 0644); break;
    case DIRECTORY: result = mkdir(path, 0755); break;
    case FIFO: result = mkfifo(path, 0644); break;
    case BLOCK: result = mknod(path, S_IFBLK | 0644, makedev(1, 2)); break;
    case CHARACTER: result = mknod(path, S_IFCHR | 0644, makedev(1, 2)); break;
    case SOCKET: umask(022); result = binds(path); break;
    case SYMLINK: result = symlink("nowhere", path); break;
    case KINDS: break;
  }
  umask(mask);
  must(result == 0, path);
}

void make_as(enum kind kind, const char *path, mode_t mode, uid_t uid, gid_t gid) {
  make(kind, path);
  must(lchown(path, uid, gid) == 0, "lchown");
  if (kind != SYMLINK) must(chmod(path, mode) == 0, "chmod");
}

void write_file(const char *path, const char *text) {
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0, "write_file");
}

void erase(const char *path) {
  int kind = kind_of(path);
  must((kind == DIRECTORY ? rmdir(path) : unlink(path)) == 0, path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  if (at->level == 0) return 0;
  return type == FTW_DP || type == FTW_DNR ? rmdir(path) : unlink(path);
}

void fresh(void) {
  become(&ROOT);
  umask(0);
  if (am_root) must(chown(".", 0, 0) == 0, "chown of the working directory");
  must(chmod(".", 0755) == 0, "chmod of the working directory");
  must(nftw(".", remove_one, 16, FTW_PHYS | FTW_DEPTH) == 0, "emptying the working directory");
}

/* What the kernel remembers must be what the file system says when it is asked. */
static void expect_agreement(int fd, const char *path, const struct stat *st) {
  struct statx asked;
  int flags = AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC | (*path ? 0 : AT_EMPTY_PATH);
  if (statx(fd, path, flags, STATX_BASIC_STATS, &asked) != 0) return report(0, path, 0, "statx: %s", strerror(errno));
  int same = asked.stx_mode == st->st_mode && asked.stx_nlink == st->st_nlink && asked.stx_ino == st->st_ino &&
             asked.stx_uid == st->st_uid && asked.stx_gid == st->st_gid && (off_t)asked.stx_size == st->st_size &&
             asked.stx_mtime.tv_sec == st->st_mtim.tv_sec && asked.stx_mtime.tv_nsec == st->st_mtim.tv_nsec &&
             asked.stx_ctime.tv_sec == st->st_ctim.tv_sec && asked.stx_ctime.tv_nsec == st->st_ctim.tv_nsec;
  if (same) return;
  report(0, path, 0, "the kernel has mode %o, %lu links, owner %u:%u, size %lld; the file system %o, %u, %u:%u, %lld%s",
         st->st_mode, (unsigned long)st->st_nlink, st->st_uid, st->st_gid, (long long)st->st_size, asked.stx_mode,
         asked.stx_nlink, asked.stx_uid, asked.stx_gid, (long long)asked.stx_size,
         asked.stx_ctime.tv_nsec == st->st_ctim.tv_nsec ? "" : ", other times");
}

static struct stat of(const char *path) {
  struct stat st;
  memset(&st, 0xff, sizeof st);
  if (lstat(path, &st) != 0) st.st_mode = 0;
  else expect_agreement(AT_FDCWD, path, &st);
  return st;
}

int exists(const char *path) { return of(path).st_mode != 0; }
long long mode_of(const char *path) { return exists(path) ? (long long)(of(path).st_mode & 07777) : -1; }
long long uid_of(const char *path) { return exists(path) ? (long long)of(path).st_uid : -1; }
long long gid_of(const char *path) { return exists(path) ? (long long)of(path).st_gid : -1; }
long long nlink_of(const char *path) { return exists(path) ? (long long)of(path).st_nlink : -1; }
long long ino_of(const char *path) { return exists(path) ? (long long)of(path).st_ino : -1; }
long long size_of(const char *path) { return exists(path) ? (long long)of(path).st_size : -1; }
long long rdev_of(const char *path) { return exists(path) ? (long long)of(path).st_rdev : -1; }

int kind_of(const char *path) {
  switch (of(path).st_mode & S_IFMT) {
    case S_IFREG: return REGULAR;
    case S_IFDIR: return DIRECTORY;
    case S_IFIFO: return FIFO;
    case S_IFBLK: return BLOCK;
    case S_IFCHR: return CHARACTER;
    case S_IFSOCK: return SOCKET;
    case S_IFLNK: return SYMLINK;
    default: return -1;
  }
}

/* Held by descriptor, so that a thing is found again when it was renamed or removed. */
static struct {
  int fd;
  const char *changes;
  char path[64];
  struct stat before;
} watches[8];
static int watch_count;

static int after(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

void watch(const char *path, const char *changes) {
  must(watch_count < 8, "watch: too many");
  int fd = open(path, O_PATH | O_NOFOLLOW);
  struct stat st;
  must(fd >= 0 && fstat(fd, &st) == 0, path);
  watches[watch_count].fd = fd;
  watches[watch_count].changes = changes;
  watches[watch_count].before = st;
  snprintf(watches[watch_count++].path, sizeof watches[0].path, "%s", path);
  /* File systems may stamp with the time of the last tick. */
  struct timespec now;
  do {
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (!after(now, st.st_ctim)) usleep(500);
  } while (!after(now, st.st_ctim));
}

static void expect_time(int i, char letter, struct timespec before, struct timespec now, int line) {
  const char *changes = watches[i].changes;
  char what[100];
  int changed = after(now, before) || after(before, now);
  if (strchr(changes, letter - 32)) return;
  int wanted = strchr(changes, letter) != NULL;
  /* A version keeps only times of access that were set; others are then as the last change. */
  if (letter == 'a' && !wanted && commit_file != NULL) return;
  snprintf(what, sizeof what, "%ctime of %s", letter, watches[i].path);
  report(changed == wanted, what, line, changed ? "changed" : "did not change");
}

void watched_at(int line) {
  for (int i = 0; i < watch_count; i++) {
    struct stat now;
    must(fstat(watches[i].fd, &now) == 0, watches[i].path);
    expect_agreement(watches[i].fd, "", &now);
    close(watches[i].fd);
    expect_time(i, 'a', watches[i].before.st_atim, now.st_atim, line);
    expect_time(i, 'm', watches[i].before.st_mtim, now.st_mtim, line);
    expect_time(i, 'c', watches[i].before.st_ctim, now.st_ctim, line);
  }
  watch_count = 0;
}

char *repeat(char c, int length) {
  static char texts[2][5000];
  static int next;
  char *text = texts[next++ % 2];
  memset(text, c, length);
  text[length] = 0;
  return text;
}

static int is_wanted(const struct part *part, int count, char **wanted) {
  if ((part->flags & NEEDS_ROOT) && !am_root) return 0;
  if (count == 0) return !(part->flags & ONLY_IF_NAMED);
  for (int i = 0; i < count; i++)
    if (strcmp(wanted[i], part->name) == 0) return 1;
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: posix list | posix DIRECTORY [PART...]\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  am_root = getuid() == 0;
  commit_file = getenv("POSIX_COMMIT");
  int list = strcmp(argv[1], "list") == 0;
  must(list || chdir(argv[1]) == 0, argv[1]);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    for (const struct part *part = all[i]; part->name != NULL; part++) {
      if (!is_wanted(part, argc - 2, argv + 2)) continue;
      if (list) {
        puts(part->name);
        continue;
      }
      part_now = part->name;
      scope("start");
      if (!(part->flags & ONLY_IF_NAMED)) fresh();
      long before = cases;
      part->run();
      printf("# %s: %ld cases\n", part->name, cases - before);
      scope("end");
      if (!(part->flags & ONLY_IF_NAMED)) fresh();
    }
  }
  if (list) return 0;
  printf("%ld cases, %ld failed\n", cases, failures);
  return failures > 0;
}

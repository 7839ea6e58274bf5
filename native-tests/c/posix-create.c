/* What makes a name: modes and umask, owner and group, link counts, times of the thing and of its directory. */
#include "posix.h"
#include <sys/sysmacros.h>

static int create(enum kind kind, const char *path, mode_t mode) {
  switch (kind) {
    case REGULAR: return opens(path, O_CREAT | O_EXCL | O_WRONLY, mode);
    case DIRECTORY: return mkdir(path, mode);
    case FIFO: return mkfifo(path, mode);
    case BLOCK: return mknod(path, S_IFBLK | mode, makedev(7, 300));
    case CHARACTER: return mknod(path, S_IFCHR | mode, makedev(300, 70000));
    case SOCKET: return mknod(path, S_IFSOCK | mode, 0);
    default: return symlink("target", path);
  }
}

static mode_t expected_mode(enum kind kind, mode_t mode, mode_t mask) {
  if (kind == SYMLINK) return 0777;
  /* mkdir gives the sticky bit and permissions only. */
  return (kind == DIRECTORY ? mode & 01777 : mode) & ~mask;
}

static void modes(void) {
  static const mode_t wanted[] = {0, 0151, 0345, 0400, 0600, 0644, 0666, 0700, 0755, 0777, 01777, 01644, 02755, 04755, 06711, 07777};
  static const mode_t masks[] = {0, 022, 027, 070, 077, 0501, 0111, 0666, 0777};
  for EACH_KIND(k) {
    for (size_t m = 0; m < sizeof wanted / sizeof *wanted; m++) {
      for (size_t u = 0; u < sizeof masks / sizeof *masks; u++) {
        scope("%s, mode %04o, umask %03o", kind_name[k], wanted[m], masks[u]);
        umask(masks[u]);
        OK(create(k, "f", wanted[m]));
        IS(k, kind_of("f"));
        IS(expected_mode(k, wanted[m], masks[u]), mode_of("f"));
        umask(0);
        erase("f");
      }
    }
  }
}

static void looks(void) {
  for EACH_KIND(k) {
    fresh();
    scope("%s", kind_name[k]);
    long long links = nlink_of(".");
    make(REGULAR, "older");
    watch("older", "");
    watch(".", "mc");
    OK(create(k, "f", 0755));
    watched();
    IS(k == DIRECTORY ? 2 : 1, nlink_of("f"));
    IS(links + (k == DIRECTORY), nlink_of("."));
    if (k == REGULAR) IS(0, size_of("f"));
    if (k == SYMLINK) IS(6, size_of("f"));
    if (k == BLOCK) IS(makedev(7, 300), rdev_of("f"));
    if (k == CHARACTER) IS(makedev(300, 70000), rdev_of("f"));
    if (k != BLOCK && k != CHARACTER) IS(0, rdev_of("f"));
    HOLDS(ino_of("f") != ino_of("."));
    HOLDS(ino_of("f") != ino_of("older"));
    struct stat st, old;
    must(lstat("f", &st) == 0 && lstat("older", &old) == 0, "lstat");
    HOLDS(st.st_ctim.tv_sec > old.st_ctim.tv_sec || st.st_ctim.tv_nsec > old.st_ctim.tv_nsec);
    HOLDS(st.st_mtim.tv_sec >= old.st_ctim.tv_sec);
    HOLDS(st.st_atim.tv_sec >= old.st_ctim.tv_sec);
    watch("f", "");
    watch(".", "");
    FAILS(EEXIST, create(k, "f", 0700));
    watched();
    watch(".", "");
    FAILS(ENOENT, create(k, "no/f", 0700));
    watched();
  }
}

static void owners(void) {
  static const struct user *const users[] = {&ROOT, &OWNER, &MATE, &OTHER};
  static const mode_t modes[] = {0755, 0644, 02755, 02745};
  for EACH_KIND(k) {
    for (int w = 0; w < 4; w++) {
      for (int setgid = 0; setgid < 2; setgid++) {
        for (int m = 0; m < 4; m++) {
          if ((k == BLOCK || k == CHARACTER) && w > 0) continue;
          fresh();
          make_as(DIRECTORY, "d", setgid ? 02777 : 0777, OWNER_ID, OWNER_ID);
          scope("%s of mode %04o in a %sdirectory", kind_name[k], modes[m], setgid ? "setgid " : "");
          AS(*users[w], OK(create(k, "d/f", modes[m])));
          IS(users[w]->uid, uid_of("d/f"));
          IS(setgid ? OWNER_ID : users[w]->gid, gid_of("d/f"));
          if (k == SYMLINK) continue;
          mode_t mode = k == DIRECTORY ? (modes[m] & 01777) | (setgid ? 02000 : 0) : modes[m];
          /* Setgid is for members of the group that the file comes to have. */
          if (k != DIRECTORY && setgid && users[w] == &OTHER && (mode & 010)) mode &= ~02000;
          IS(mode, mode_of("d/f"));
        }
      }
    }
  }
}

static void by_users_without_rights(void) {
  make_as(DIRECTORY, "d", 0755, 0, 0);
  make_as(DIRECTORY, "mine", 0755, OWNER_ID, OWNER_ID);
  for EACH_KIND(k) {
    scope("%s", kind_name[k]);
    watch("d", "");
    AS(OWNER, FAILS(EACCES, create(k, "d/f", 0644)));
    watched();
    IS(0, exists("d/f"));
    watch("mine", k == BLOCK || k == CHARACTER ? "" : "mc");
    AS(OWNER, FAILS(k == BLOCK || k == CHARACTER ? EPERM : 0, create(k, "mine/f", 0644)));
    watched();
    if (exists("mine/f")) erase("mine/f");
  }
}

static void device_numbers(void) {
  static const unsigned numbers[][2] = {{0, 0}, {1, 3}, {8, 0}, {255, 255}, {256, 256}, {4095, 1048575}, {0, 1048575}, {4095, 0}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    dev_t rdev = makedev(numbers[i][0], numbers[i][1]);
    scope("%u, %u", numbers[i][0], numbers[i][1]);
    OK(mknod("b", S_IFBLK | 0600, rdev));
    IS(rdev, rdev_of("b"));
    OK(mknod("c", S_IFCHR | 0600, rdev));
    IS(rdev, rdev_of("c"));
    erase("b");
    erase("c");
  }
  /* (0, 0) as a character device is overlayfs' mark of a removed name, which anybody may make. */
  make_as(DIRECTORY, "mine", 0755, OWNER_ID, OWNER_ID);
  AS(OWNER, OK(mknod("mine/whiteout", S_IFCHR, 0)));
}

static void bad_types(void) {
  FAILS(EPERM, mknod("d", S_IFDIR | 0755, 0));
  FAILS(EINVAL, mknod("l", S_IFLNK | 0755, 0));
  FAILS(EINVAL, mknod("x", 0130000 | 0755, 0));
  OK(mknod("plain", 0644, 0));
  IS(REGULAR, kind_of("plain"));
  OK(mknodat(AT_FDCWD, "at", S_IFIFO | 0640, 0));
  IS(FIFO, kind_of("at"));
  FAILS(EBADF, mkdirat(-1, "d", 0755));
  FAILS(EBADF, mkfifoat(-1, "d", 0755));
  FAILS(EBADF, symlinkat("t", -1, "d"));
  FAILS(ENOTDIR, mkdirat(AT_FDCWD, "plain/d", 0755));
}

/* Sockets can be bound and connected to, FIFOs carry bytes. */
static void sockets(void) {
  umask(022);
  OK(binds("s"));
  IS(SOCKET, kind_of("s"));
  IS(0755, mode_of("s"));
  FAILS(EADDRINUSE, binds("s"));
  FAILS(ENXIO, open("s", O_RDWR));
  FAILS(ENXIO, open("s", O_RDONLY));
  make(FIFO, "p");
  int reader = open("p", O_RDONLY | O_NONBLOCK);
  int writer = open("p", O_WRONLY | O_NONBLOCK);
  char text[8];
  IS(5, write(writer, "hello", 5));
  IS(5, read(reader, text, sizeof text));
  IS(0, size_of("p"));
  close(reader);
  close(writer);
  FAILS(ENXIO, open("p", O_WRONLY | O_NONBLOCK));
}

static void directories_have_parents(void) {
  struct stat up, here;
  make(DIRECTORY, "d");
  for (int i = 1; i <= 20; i++) {
    char path[16];
    snprintf(path, sizeof path, "d/%d", i);
    make(DIRECTORY, path);
    IS(2 + i, nlink_of("d"));
    strcat(path, "/..");
    OK(stat(path, &up));
    OK(stat("d", &here));
    IS(here.st_ino, up.st_ino);
  }
  for (int i = 1; i <= 20; i++) {
    char path[16];
    snprintf(path, sizeof path, "d/%d", i);
    erase(path);
    IS(22 - i, nlink_of("d"));
  }
}

const struct part parts_of_create[] = {{"create: modes", modes, 0},
                                         {"create: links and times", looks, 0},
                                         {"create: owner and group", owners, NEEDS_ROOT},
                                         {"create: users without rights", by_users_without_rights, NEEDS_ROOT},
                                         {"create: device numbers", device_numbers, NEEDS_ROOT},
                                         {"create: types", bad_types, 0},
                                         {"create: sockets and FIFOs", sockets, 0},
                                         {NULL, NULL, 0}};
const struct part parts_of_mkdir[] = {{"mkdir: link counts", directories_have_parents, 0}, {NULL, NULL, 0}};

/* Sockets, FIFOs, devices and watches of the tree, between processes. */
#include "cases.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void processes_talk_through_a_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
  int server = OK(socket(AF_UNIX, SOCK_STREAM, 0));
  OK(bind(server, (struct sockaddr *)&address, sizeof address));
  CHECK(S_ISSOCK(stat_of("socket").st_mode));
  OK(listen(server, 5));
  OK(rename("socket", "moved"));
  strcpy(address.sun_path, "moved");
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(connect(client, (struct sockaddr *)&address, sizeof address));
    CHECK(OK(write(client, "hello", 5)) == 5);
    _exit(0);
  }
  int connection = OK(accept(server, NULL, NULL));
  char back[5];
  CHECK(OK(recv(connection, back, 5, MSG_WAITALL)) == 5 && memcmp(back, "hello", 5) == 0);
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
  FAILS(EADDRINUSE, bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, sizeof address));
  FAILS(ENXIO, open("moved", O_RDONLY));
  OK(unlink("moved"));
  FAILS(ENOENT, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, sizeof address));
}

static void processes_talk_through_a_fifo(void) {
  OK(mkfifo("fifo", 0600));
  FAILS(ENXIO, open("fifo", O_WRONLY | O_NONBLOCK));
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    int to = OK(open("fifo", O_WRONLY));
    char block[1000];
    memset(block, 'f', sizeof block);
    for (int i = 0; i < 300; i++) CHECK(OK(write(to, block, sizeof block)) == sizeof block);
    _exit(0);
  }
  int from = OK(open("fifo", O_RDONLY));
  char block[4096];
  long total = 0;
  for (ssize_t got; (got = OK(read(from, block, sizeof block))) > 0; total += got) CHECK(is_all(block, 'f', (size_t)got));
  CHECK(total == 300000);
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
  CHECK(S_ISFIFO(stat_of("fifo").st_mode) && stat_of("fifo").st_size == 0);
}

static void nodes_keep_their_numbers(void) {
  static const dev_t numbers[] = {0x103, 0x0, 0xff0ff, 0x12345678};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    char name[16];
    sprintf(name, "c%zu", i);
    OK(mknod(name, S_IFCHR | 0600, numbers[i]));
    CHECK(S_ISCHR(stat_of(name).st_mode) && stat_of(name).st_rdev == numbers[i]);
    sprintf(name, "b%zu", i);
    OK(mknod(name, S_IFBLK | 0600, numbers[i]));
    OK(link(name, "second"));
    CHECK(S_ISBLK(stat_of("second").st_mode) && stat_of("second").st_rdev == numbers[i] && stat_of(name).st_nlink == 2);
    OK(unlink("second"));
  }
  OK(mknod("plain", S_IFREG | 0640, 0));
  CHECK(S_ISREG(stat_of("plain").st_mode) && stat_of("plain").st_size == 0);
}

static int watcher;
static char names_seen[8192];

/* Reads events until `last` (mask and name) was there; notes "mask:name " of each. */
static void watch_until(uint32_t mask, const char *name) {
  for (;;) {
    char buffer[8192];
    struct pollfd poll_for = {.fd = watcher, .events = POLLIN};
    CHECK_SAYING(poll(&poll_for, 1, 5000) == 1, "no event %#x of %s, but:%s", mask, name, names_seen);
    ssize_t got = OK(read(watcher, buffer, sizeof buffer));
    int found = 0;
    for (char *at = buffer; at < buffer + got;) {
      struct inotify_event *event = (struct inotify_event *)at;
      const char *called = event->len > 0 ? event->name : "";
      sprintf(names_seen + strlen(names_seen), " %x:%s", event->mask, called);
      found |= (event->mask & mask) != 0 && strcmp(called, name) == 0;
      at += sizeof *event + event->len;
    }
    if (found) return;
  }
}

static void watches_tell_of_changes(void) {
  watcher = OK(inotify_init1(IN_CLOEXEC));
  OK(inotify_add_watch(watcher, ".", IN_ALL_EVENTS));
  make_file("f", "x");
  watch_until(IN_CLOSE_WRITE, "f");
  CHECK(strstr(names_seen, "100:f") != NULL && strstr(names_seen, " 2:f") != NULL);
  OK(chmod("f", 0600));
  watch_until(IN_ATTRIB, "f");
  OK(rename("f", "g"));
  watch_until(IN_MOVED_TO, "g");
  CHECK(strstr(names_seen, "40:f") != NULL);
  OK(mkdir("d", 0755));
  watch_until(IN_CREATE, "d");
  OK(link("g", "h"));
  watch_until(IN_CREATE, "h");
  OK(unlink("g"));
  watch_until(IN_DELETE, "g");
  OK(rmdir("d"));
  watch_until(IN_DELETE, "d");
  IN_CHILD(make_file("of-another-process", "y"));
  watch_until(IN_CLOSE_WRITE, "of-another-process");
  OK(inotify_add_watch(watcher, "h", IN_DELETE_SELF | IN_ATTRIB));
  names_seen[0] = 0;
  OK(unlink("h"));
  watch_until(IN_DELETE_SELF, "");
}

static void attributes_of_every_kind(void) {
  make_file("file", "x");
  OK(mkdir("dir", 0755));
  OK(symlink("file", "link"));
  OK(mkfifo("fifo", 0600));
  char value[70000], back[70000];
  memset(value, 'v', sizeof value);
  OK(setxattr("file", "user.small", "1", 1, 0));
  OK(setxattr("dir", "user.small", "22", 2, 0));
  CHECK(OK(getxattr("link", "user.small", back, sizeof back)) == 1);
  FAILS(EPERM, lsetxattr("link", "user.small", "1", 1, 0));
  FAILS(EPERM, setxattr("fifo", "user.small", "1", 1, 0));
  OK(lsetxattr("link", "trusted.mark", "333", 3, 0));
  CHECK(OK(lgetxattr("link", "trusted.mark", back, sizeof back)) == 3);
  FAILS(EEXIST, setxattr("file", "user.small", "2", 1, XATTR_CREATE));
  FAILS(ENODATA, setxattr("file", "user.none", "2", 1, XATTR_REPLACE));
  OK(setxattr("file", "user.empty", "", 0, 0));
  CHECK(OK(getxattr("file", "user.empty", back, sizeof back)) == 0);
  OK(setxattr("file", "user.page", value, 2000, 0));
  CHECK(OK(getxattr("file", "user.page", back, sizeof back)) == 2000 && memcmp(back, value, 2000) == 0);
  FAILS(ERANGE, getxattr("file", "user.page", back, 1999));
  CHECK(OK(getxattr("file", "user.page", NULL, 0)) == 2000);
  FAILS(E2BIG, setxattr("file", "user.much", value, 65537, 0));
  FAILS(ENODATA, getxattr("file", "user.much", back, 10));
  ssize_t listed = OK(listxattr("file", back, sizeof back));
  int found = 0;
  for (char *at = back; at < back + listed; at += strlen(at) + 1) found += strncmp(at, "user.", 5) == 0;
  CHECK_SAYING(found == 3, "%d names", found);
  OK(removexattr("file", "user.page"));
  FAILS(ENODATA, removexattr("file", "user.page"));
  FAILS(EOPNOTSUPP, setxattr("file", "nospace.x", "1", 1, 0));
  char name[300] = "user.";
  memset(name + 5, 'n', 251);
  FAILS(ERANGE, setxattr("file", name, "1", 1, 0));
  name[255] = 0;
  OK(setxattr("file", name, "1", 1, 0));
  CHECK(OK(getxattr("file", name, back, sizeof back)) == 1);
}

static void links_in_paths(void) {
  OK(mkdir("a", 0755));
  OK(mkdir("a/b", 0755));
  make_file("a/b/f", "found");
  OK(symlink("a/b", "ab"));
  CHECK(stat_of("ab/f").st_size == 5);
  OK(symlink("../a/b/f", "a/up"));
  struct stat st;
  OK(stat("a/up", &st));
  CHECK(st.st_size == 5);
  OK(symlink("loop2", "loop1"));
  OK(symlink("loop1", "loop2"));
  FAILS(ELOOP, stat("loop1", &st));
  char name[16], target[16] = "a/b/f";
  for (int i = 0; i < 45; i++) {
    sprintf(name, "chain%d", i);
    OK(symlink(target, name));
    strcpy(target, name);
  }
  OK(stat("chain39", &st));
  FAILS(ELOOP, stat("chain44", &st));
  OK(symlink("nowhere", "dangling"));
  FAILS(ENOENT, stat("dangling", &st));
  OK(close(OK(open("dangling", O_CREAT | O_WRONLY, 0644))));
  CHECK(stat_of("nowhere").st_size == 0);
  FAILS(EEXIST, open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0644));
  OK(link("ab", "second")); /* the link itself */
  CHECK(S_ISLNK(stat_of("second").st_mode) && stat_of("ab").st_nlink == 2);
}

CASES({"processes-talk-through-a-socket", processes_talk_through_a_socket},
      {"processes-talk-through-a-fifo", processes_talk_through_a_fifo},
      {"nodes-keep-their-numbers", nodes_keep_their_numbers},
      {"watches-tell-of-changes", watches_tell_of_changes},
      {"attributes-of-every-kind", attributes_of_every_kind},
      {"links-in-paths", links_in_paths})

/* Open files: without a name, shared, reopened, executed, and found again by handle. */
#include "cases.h"
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static void an_unlinked_file_works_until_it_is_closed(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
  put(fd, "some bytes", 10, 0);
  OK(unlink("f"));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_nlink == 0 && st.st_size == 10);
  OK(ftruncate(fd, 100000));
  put(fd, "end", 3, 200000);
  OK(fchmod(fd, 0640));
  OK(fchown(fd, 1, 2));
  struct timespec times[2] = {{.tv_sec = 5, .tv_nsec = 6}, {.tv_sec = 7, .tv_nsec = 8}};
  OK(futimens(fd, times));
  OK(fstat(fd, &st));
  CHECK(st.st_size == 200003 && (st.st_mode & 0777) == 0640 && st.st_uid == 1 && st.st_gid == 2);
  CHECK(st.st_mtim.tv_sec == 7 && st.st_mtim.tv_nsec == 8);
  OK(fsetxattr(fd, "user.note", "x", 1, 0));
  char value[4];
  CHECK(OK(fgetxattr(fd, "user.note", value, sizeof value)) == 1);
  OK(fsync(fd));
  char back[10];
  get(fd, back, 10, 0);
  CHECK(memcmp(back, "some bytes", 10) == 0);
  FAILS(ENOENT, access("f", F_OK));
  make_file("f", "another");
  get(fd, back, 3, 200000);
  CHECK(memcmp(back, "end", 3) == 0);
  CHECK(stat_of("f").st_ino != st.st_ino);
}

static void an_unlinked_file_is_opened_again_by_its_descriptor(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
  put(fd, "kept", 4, 0);
  OK(unlink("f"));
  char path[64], back[4];
  sprintf(path, "/proc/self/fd/%d", fd);
  int again = OK(open(path, O_RDWR));
  OK(close(fd));
  get(again, back, 4, 0);
  CHECK(memcmp(back, "kept", 4) == 0);
  FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
  sprintf(path, "/proc/self/fd/%d", again);
  FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
  int emptied = OK(open(path, O_WRONLY | O_TRUNC));
  struct stat st;
  OK(fstat(again, &st));
  CHECK(st.st_size == 0);
  OK(close(emptied));
}

static void a_replaced_file_works_until_it_is_closed(void) {
  make_file("f", "first");
  int fd = OK(open("f", O_RDWR));
  make_file("g", "second");
  OK(rename("g", "f"));
  char back[5];
  get(fd, back, 5, 0);
  CHECK(memcmp(back, "first", 5) == 0);
  put(fd, "FIRST", 5, 0);
  CHECK(stat_of("f").st_size == 6);
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_nlink == 0);
}

static void a_file_without_a_name_gets_one(void) {
  int fd = open(".", O_TMPFILE | O_RDWR, 0640);
  if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) not_offered("O_TMPFILE");
  CHECK(fd >= 0);
  put(fd, "temporary", 9, 0);
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_nlink == 0 && st.st_size == 9 && (st.st_mode & 0777) == 0640);
  char path[64];
  sprintf(path, "/proc/self/fd/%d", fd);
  OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  CHECK(stat_of("named").st_ino == st.st_ino && stat_of("named").st_nlink == 1 && stat_of("named").st_size == 9);
  put(fd, "more", 4, 9);
  OK(close(fd));
  CHECK(stat_of("named").st_size == 13);
  fd = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640));
  sprintf(path, "/proc/self/fd/%d", fd);
  FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
}

static void files_without_a_name_come_and_go(void) {
  int fd = open(".", O_TMPFILE | O_RDWR, 0640);
  if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) not_offered("O_TMPFILE");
  OK(close(fd));
  static char block[40000];
  for (int i = 0; i < 300; i++) {
    fd = OK(open(".", O_TMPFILE | O_RDWR, 0640));
    memset(block, i, sizeof block);
    put(fd, block, sizeof block, 0);
    get(fd, block, sizeof block, 0);
    CHECK(is_all(block, i, sizeof block));
    OK(close(fd));
  }
  DIR *dir = opendir(".");
  int count = 0;
  while (readdir(dir) != NULL) count++;
  CHECK(count == 2);
}

static void copies_of_a_descriptor_share_its_place(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600)), copy = OK(dup(fd));
  OK(write(fd, "0123456789", 10));
  CHECK(OK(lseek(copy, 0, SEEK_CUR)) == 10);
  OK(lseek(copy, 2, SEEK_SET));
  IN_CHILD({
    char back[3];
    CHECK(OK(read(fd, back, 3)) == 3 && memcmp(back, "234", 3) == 0);
    OK(close(fd));
  });
  CHECK(OK(lseek(fd, 0, SEEK_CUR)) == 5);
  OK(fcntl(copy, F_SETFL, O_APPEND));
  CHECK((OK(fcntl(fd, F_GETFL)) & O_APPEND) != 0);
  OK(write(fd, "x", 1));
  CHECK(stat_of("f").st_size == 11);
  OK(fcntl(copy, F_SETFL, 0));
  OK(lseek(fd, 0, SEEK_SET));
  OK(write(fd, "y", 1));
  CHECK(stat_of("f").st_size == 11);
}

static void append_set_by_fcntl_appends(void) {
  make_file("f", "0123456789");
  int fd = OK(open("f", O_RDWR));
  OK(fcntl(fd, F_SETFL, O_APPEND));
  OK(write(fd, "abc", 3));
  OK(pwrite(fd, "def", 3, 0)); /* on Linux an append, too */
  char back[16];
  get(fd, back, 16, 0);
  CHECK(memcmp(back, "0123456789abcdef", 16) == 0);
}

static void appends_of_many_processes_are_whole(void) {
  enum { PROCESSES = 4, RECORDS = 400, SIZE = 700 };
  fflush(NULL);
  pid_t children[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    children[p] = OK(fork());
    if (children[p] != 0) continue;
    int fd = OK(open("log", O_WRONLY | O_CREAT | O_APPEND, 0644));
    char record[SIZE];
    memset(record, 'a' + p, SIZE);
    for (int i = 0; i < RECORDS; i++) CHECK(OK(write(fd, record, SIZE)) == SIZE);
    _exit(0);
  }
  for (int p = 0; p < PROCESSES; p++) {
    int status;
    OK(waitpid(children[p], &status, 0));
    CHECK(status == 0);
  }
  CHECK_SAYING(stat_of("log").st_size == PROCESSES * RECORDS * SIZE, "%ld bytes", (long)stat_of("log").st_size);
  int fd = OK(open("log", O_RDONLY)), counts[PROCESSES] = {0};
  char record[SIZE];
  for (int i = 0; i < PROCESSES * RECORDS; i++) {
    get(fd, record, SIZE, (off_t)i * SIZE);
    CHECK(is_all(record, record[0], SIZE));
    counts[record[0] - 'a']++;
  }
  for (int p = 0; p < PROCESSES; p++) CHECK(counts[p] == RECORDS);
}

static void vectors_of_bytes(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
  static char parts[200][700];
  struct iovec vector[200];
  for (int i = 0; i < 200; i++) {
    memset(parts[i], i, 700);
    vector[i] = (struct iovec){.iov_base = parts[i], .iov_len = (size_t)(i * 3)};
  }
  ssize_t all = OK(pwritev(fd, vector, 200, 5));
  CHECK(all == 3 * 199 * 200 / 2);
  for (int i = 0; i < 200; i++) memset(parts[i], 0xff, 700);
  CHECK(OK(preadv(fd, vector, 200, 5)) == all);
  for (int i = 0; i < 200; i++) CHECK(is_all(parts[i], i, (size_t)(i * 3)) && is_all(parts[i] + i * 3, 0xff, 700 - (size_t)(i * 3)));
  OK(pwritev2(fd, vector + 199, 1, 0, RWF_APPEND));
  CHECK(stat_of("f").st_size == 5 + all + 199 * 3);
  OK(pwritev2(fd, vector + 199, 1, 0, RWF_DSYNC));
}

static void a_descriptor_sent_to_another_process_works(void) {
  int sockets[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
  put(fd, "passed", 6, 0);
  OK(unlink("f"));
  char byte = 'x', control[CMSG_SPACE(sizeof(int))];
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  OK(sendmsg(sockets[0], &message, 0));
  OK(close(fd));
  IN_CHILD({
    char back[6];
    OK(recvmsg(sockets[1], &message, 0));
    int received;
    memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
    get(received, back, 6, 0);
    CHECK(memcmp(back, "passed", 6) == 0);
  });
}

static void copy_program(const char *from, const char *to) {
  int in = OK(open(from, O_RDONLY)), out = OK(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755));
  static char block[1 << 16];
  for (ssize_t got; (got = OK(read(in, block, sizeof block))) > 0;) CHECK(OK(write(out, block, (size_t)got)) == got);
  OK(close(in));
  OK(close(out));
}

static void a_program_runs_from_here(void) {
  copy_program("/bin/true", "program");
  IN_CHILD(OK(execl("./program", "program", (char *)NULL)));
  make_file("script", "#!/bin/sh\nexit 0\n");
  FAILS(EACCES, execl("./script", "script", (char *)NULL));
  OK(chmod("script", 0755));
  IN_CHILD(OK(execl("./script", "script", (char *)NULL)));
  int fd = OK(open("program", O_RDONLY));
  IN_CHILD({
    char *arguments[] = {"program", NULL};
    OK(fexecve(fd, arguments, arguments + 1));
  });
}

static void a_running_program_is_not_written(void) {
  copy_program("/bin/sleep", "program");
  int written = OK(open("program", O_WRONLY));
  FAILS(ETXTBSY, execl("./program", "program", "1", (char *)NULL));
  OK(close(written));
  int ready[2];
  OK(pipe2(ready, O_CLOEXEC));
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    close(ready[0]);
    OK(execl("./program", "program", "30", (char *)NULL));
  }
  OK(close(ready[1]));
  char byte;
  CHECK(OK(read(ready[0], &byte, 1)) == 0); /* closed by exec */
  FAILS(ETXTBSY, open("program", O_WRONLY));
  FAILS(ETXTBSY, truncate("program", 0));
  OK(unlink("program"));
  copy_program("/bin/true", "program");
  OK(kill(child, SIGKILL));
  OK(waitpid(child, NULL, 0));
}

static void handles_find_files_again(void) {
  struct {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
  } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
  int mount;
  make_file("f", "by handle");
  OK(mkdir("d", 0755));
  if (name_to_handle_at(AT_FDCWD, "f", &handle.head, &mount, 0) == -1) not_offered("file handles");
  int here = OK(open(".", O_RDONLY | O_DIRECTORY));
  int fd = open_by_handle_at(here, &handle.head, O_RDWR);
  if (fd == -1 && errno == EPERM) not_offered("opening by handle");
  CHECK(fd >= 0);
  char back[9];
  get(fd, back, 9, 0);
  CHECK(memcmp(back, "by handle", 9) == 0);
  OK(close(fd));
  OK(rename("f", "d/g"));
  fd = OK(open_by_handle_at(here, &handle.head, O_RDONLY));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_ino == stat_of("d/g").st_ino);
  OK(close(fd));
  OK(unlink("d/g"));
  /* A file whose close is still on its way to a daemon is found for that long. */
  for (int tries = 0; tries < 200 && (fd = open_by_handle_at(here, &handle.head, O_RDONLY)) >= 0; tries++) {
    OK(close(fd));
    usleep(10000);
  }
  FAILS(ESTALE, open_by_handle_at(here, &handle.head, O_RDONLY));
  handle.head.handle_bytes = MAX_HANDLE_SZ;
  OK(name_to_handle_at(AT_FDCWD, "d", &handle.head, &mount, 0));
  fd = OK(open_by_handle_at(here, &handle.head, O_RDONLY | O_DIRECTORY));
  OK(fstat(fd, &st));
  CHECK(st.st_ino == stat_of("d").st_ino);
  OK(close(OK(openat(fd, "inside", O_CREAT | O_WRONLY, 0644))));
  CHECK(stat_of("d/inside").st_size == 0);
}

/* Also after the kernel has forgotten the file. */
static void handles_outlive_the_kernels_memory(void) {
  struct {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
  } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
  int mount;
  OK(mkdir("d", 0755));
  make_file("d/f", "by handle");
  if (name_to_handle_at(AT_FDCWD, "d/f", &handle.head, &mount, 0) == -1) not_offered("file handles");
  int here = OK(open(".", O_RDONLY | O_DIRECTORY));
  int fd = open_by_handle_at(here, &handle.head, O_RDONLY);
  if (fd == -1 && errno == EPERM) not_offered("opening by handle");
  if (fd >= 0) OK(close(fd));
  sync();
  int drop = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (drop == -1) not_offered("dropping caches");
  OK(write(drop, "2", 1));
  OK(write(drop, "2", 1));
  fd = OK(open_by_handle_at(here, &handle.head, O_RDONLY));
  char back[9];
  get(fd, back, 9, 0);
  CHECK(memcmp(back, "by handle", 9) == 0);
}

static void paths_only_descriptors(void) {
  make_file("f", "text");
  int fd = OK(open("f", O_PATH));
  char byte;
  FAILS(EBADF, read(fd, &byte, 1));
  FAILS(EBADF, fchmod(fd, 0600));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(st.st_size == 4);
  OK(symlink("f", "link"));
  int link = OK(open("link", O_PATH | O_NOFOLLOW));
  OK(fstat(link, &st));
  CHECK(S_ISLNK(st.st_mode));
  char target[8];
  CHECK(OK(readlinkat(link, "", target, sizeof target)) == 1);
  FAILS(ELOOP, open("link", O_RDONLY | O_NOFOLLOW));
  FAILS(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
  FAILS(EISDIR, open(".", O_WRONLY));
  FAILS(ENOTDIR, open("f/x", O_RDONLY));
}

static void attributes_seen_by_one_descriptor_are_seen_by_all(void) {
  int a = OK(open("f", O_RDWR | O_CREAT, 0600)), b = OK(open("f", O_RDWR));
  OK(link("f", "g"));
  struct stat st;
  put(a, "12345", 5, 0);
  OK(fstat(b, &st));
  CHECK(st.st_size == 5 && st.st_nlink == 2);
  CHECK(stat_of("g").st_size == 5);
  OK(ftruncate(b, 2));
  CHECK(stat_of("g").st_size == 2);
  OK(fstat(a, &st));
  CHECK(st.st_size == 2);
  OK(fchmod(a, 0751));
  CHECK((stat_of("g").st_mode & 0777) == 0751);
  OK(unlink("f"));
  OK(fstat(b, &st));
  CHECK(st.st_nlink == 1);
  IN_CHILD({
    int mine = OK(open("g", O_RDWR));
    put(mine, "123456789", 9, 0);
  });
  CHECK(OK(lseek(a, 0, SEEK_END)) == 9);
}

static void many_files_are_open_at_once(void) {
  enum { COUNT = 900 };
  static int fds[COUNT];
  char name[32], back[9] = "";
  for (int i = 0; i < COUNT; i++) {
    sprintf(name, "f%d", i);
    fds[i] = OK(open(name, O_RDWR | O_CREAT, 0600));
  }
  for (int i = 0; i < COUNT; i++) {
    sprintf(name, "%08d", i);
    put(fds[i], name, 8, i * 100);
  }
  for (int i = 0; i < COUNT; i++) {
    get(fds[i], back, 8, i * 100);
    CHECK(atoi(back) == i);
  }
}

static void figures_of_the_file_system_are_sound(void) {
  struct statvfs before;
  OK(statvfs(".", &before));
  CHECK(before.f_bsize > 0 && before.f_blocks > 0 && before.f_bfree <= before.f_blocks);
  CHECK(before.f_bavail <= before.f_bfree && before.f_namemax == 255);
  OK(syncfs(OK(open(".", O_RDONLY))));
}

static void times_to_the_nanosecond(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
  static const long seconds[] = {0, 1, 2147483647, 2147483648, 4294967296, 10000000000, -1, -1000000000};
  for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
    struct timespec times[2] = {{seconds[i], 123456789}, {seconds[i], 987654321}};
    OK(futimens(fd, times));
    struct stat st;
    OK(fstat(fd, &st));
    CHECK_SAYING(st.st_atim.tv_sec == seconds[i] && st.st_atim.tv_nsec == 123456789, "atime %ld", (long)st.st_atim.tv_sec);
    CHECK_SAYING(st.st_mtim.tv_sec == seconds[i] && st.st_mtim.tv_nsec == 987654321, "mtime %ld", (long)st.st_mtim.tv_sec);
  }
}

/* A mount may be told of it a moment after fsync has answered. */
static void blocks_of_an_open_file_are_counted_after_fsync(void) {
  static char bytes[100000];
  memset(bytes, 1, sizeof bytes);
  int fd = OK(open("f", O_WRONLY | O_CREAT, 0644));
  for (int pieces = 1; pieces <= 2; pieces++) {
    put(fd, bytes, sizeof bytes, (pieces - 1) * (off_t)sizeof bytes);
    OK(fsync(fd));
    while (stat_of("f").st_blocks * 512 < pieces * (blkcnt_t)sizeof bytes) OK(usleep(1000));
  }
  CHECK(stat_of("f").st_blocks * 512 < 3 * (blkcnt_t)sizeof bytes);
}

CASES({"blocks-of-an-open-file-are-counted-after-fsync", blocks_of_an_open_file_are_counted_after_fsync},
      {"an-unlinked-file-works-until-it-is-closed", an_unlinked_file_works_until_it_is_closed},
      {"an-unlinked-file-is-opened-again-by-its-descriptor", an_unlinked_file_is_opened_again_by_its_descriptor},
      {"a-replaced-file-works-until-it-is-closed", a_replaced_file_works_until_it_is_closed},
      {"a-file-without-a-name-gets-one", a_file_without_a_name_gets_one},
      {"files-without-a-name-come-and-go", files_without_a_name_come_and_go},
      {"copies-of-a-descriptor-share-its-place", copies_of_a_descriptor_share_its_place},
      {"append-set-by-fcntl-appends", append_set_by_fcntl_appends},
      {"appends-of-many-processes-are-whole", appends_of_many_processes_are_whole},
      {"vectors-of-bytes", vectors_of_bytes},
      {"a-descriptor-sent-to-another-process-works", a_descriptor_sent_to_another_process_works},
      {"a-program-runs-from-here", a_program_runs_from_here},
      {"a-running-program-is-not-written", a_running_program_is_not_written},
      {"handles-find-files-again", handles_find_files_again},
      {"handles-outlive-the-kernels-memory", handles_outlive_the_kernels_memory},
      {"paths-only-descriptors", paths_only_descriptors},
      {"attributes-seen-by-one-descriptor-are-seen-by-all", attributes_seen_by_one_descriptor_are_seen_by_all},
      {"many-files-are-open-at-once", many_files_are_open_at_once},
      {"figures-of-the-file-system-are-sound", figures_of_the_file_system_are_sound},
      {"times-to-the-nanosecond", times_to_the_nanosecond})

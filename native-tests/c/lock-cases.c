/* Advisory locks and leases: the kernel's own, between processes, on files of the mount. */
#include "cases.h"
#include <sys/file.h>
#include <sys/mman.h>

static int ask(int fd, int command, short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, command, &lock);
}

static int file(void) { return OK(open("f", O_RDWR | O_CREAT, 0644)); }

static void flock_excludes_and_is_freed_by_close(void) {
  int a = file(), b = file();
  OK(flock(a, LOCK_EX));
  FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
  FAILS(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
  IN_CHILD(FAILS(EWOULDBLOCK, flock(OK(open("f", O_RDONLY)), LOCK_SH | LOCK_NB)));
  OK(flock(a, LOCK_SH));
  OK(flock(b, LOCK_SH | LOCK_NB));
  FAILS(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
  OK(close(b));
  OK(flock(a, LOCK_EX | LOCK_NB));
  int copy = OK(dup(a));
  OK(close(a));
  b = file();
  FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB)); /* the copy holds it */
  OK(close(copy));
  OK(flock(b, LOCK_EX | LOCK_NB));
}

static void flock_waits_until_the_holder_ends(void) {
  int a = file(), pipes[2];
  OK(pipe(pipes));
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    int mine = file();
    OK(flock(mine, LOCK_EX));
    OK(write(pipes[1], "x", 1));
    usleep(100000);
    _exit(0);
  }
  char byte;
  CHECK(OK(read(pipes[0], &byte, 1)) == 1);
  OK(flock(a, LOCK_EX));
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
}

static void record_locks_exclude_other_processes_by_range(void) {
  int fd = file();
  OK(ask(fd, F_SETLK, F_WRLCK, 100, 100));
  OK(ask(fd, F_SETLK, F_RDLCK, 300, 100));
  IN_CHILD({
    int mine = file();
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 150, 1));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_RDLCK, 0, 101));
    OK(ask(mine, F_SETLK, F_WRLCK, 0, 100));
    OK(ask(mine, F_SETLK, F_WRLCK, 200, 100));
    OK(ask(mine, F_SETLK, F_RDLCK, 300, 50));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 300, 0));
    OK(ask(mine, F_SETLK, F_WRLCK, 400, 0)); /* to the end, wherever it goes */
  });
  OK(ask(fd, F_SETLK, F_UNLCK, 140, 20)); /* splits the lock */
  IN_CHILD({
    int mine = file();
    OK(ask(mine, F_SETLK, F_WRLCK, 140, 20));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 139, 1));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 160, 1));
  });
}

static void getlk_names_the_holder(void) {
  int fd = file();
  OK(ask(fd, F_SETLK, F_WRLCK, 10, 20));
  pid_t me = getpid();
  IN_CHILD({
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    OK(fcntl(file(), F_GETLK, &lock));
    CHECK(lock.l_type == F_WRLCK && lock.l_start == 10 && lock.l_len == 20 && lock.l_pid == me);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 30, .l_len = 5};
    OK(fcntl(file(), F_GETLK, &lock));
    CHECK(lock.l_type == F_UNLCK);
  });
}

static void record_locks_go_with_any_close_and_are_not_inherited(void) {
  int fd = file();
  OK(ask(fd, F_SETLK, F_WRLCK, 0, 0));
  IN_CHILD(FAILS(EAGAIN, ask(fd, F_SETLK, F_WRLCK, 0, 0))); /* a child is another owner */
  OK(close(file()));                                         /* any descriptor of the file */
  IN_CHILD(OK(ask(file(), F_SETLK, F_WRLCK, 0, 0)));
}

static void ofd_locks_belong_to_the_open_file(void) {
  int a = file(), b = file();
  OK(ask(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  FAILS(EAGAIN, ask(b, F_OFD_SETLK, F_WRLCK, 5, 10));
  OK(close(file())); /* does not free it */
  FAILS(EAGAIN, ask(b, F_OFD_SETLK, F_RDLCK, 0, 1));
  IN_CHILD(OK(ask(a, F_OFD_SETLK, F_WRLCK, 0, 10))); /* an inherited descriptor is the same open file */
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
  OK(fcntl(b, F_OFD_GETLK, &lock));
  CHECK(lock.l_type == F_WRLCK && lock.l_pid == -1);
  FAILS(EAGAIN, ask(b, F_SETLK, F_WRLCK, 0, 1)); /* and it excludes the other kind */
  OK(close(a));
  OK(ask(b, F_OFD_SETLK, F_WRLCK, 0, 10));
}

static void two_processes_that_wait_for_each_other_get_edeadlk(void) {
  int fd = file(), toChild[2], toParent[2];
  char byte;
  OK(pipe(toChild));
  OK(pipe(toParent));
  OK(ask(fd, F_SETLK, F_WRLCK, 0, 1));
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    int mine = file();
    OK(ask(mine, F_SETLK, F_WRLCK, 1, 1));
    OK(write(toParent[1], "x", 1));
    OK(ask(mine, F_SETLKW, F_WRLCK, 0, 1)); /* waits until the parent has given up */
    _exit(0);
  }
  CHECK(OK(read(toParent[0], &byte, 1)) == 1);
  int answer = 0;
  for (int i = 0; i < 500; i++) { /* the child has to be waiting */
    usleep(10000);
    char path[64], text[256] = "";
    sprintf(path, "/proc/%d/syscall", child);
    int state = open(path, O_RDONLY);
    if (state >= 0 && read(state, text, sizeof text - 1) > 0 && atoi(text) == SYS_fcntl) break;
    if (state >= 0) close(state);
  }
  answer = ask(fd, F_SETLKW, F_WRLCK, 1, 1);
  CHECK_SAYING(answer == -1 && errno == EDEADLK, "answered %d", answer);
  OK(ask(fd, F_SETLK, F_UNLCK, 0, 1));
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
}

static void on_alarm(int signal) { (void)signal; }

static void a_signal_ends_the_waiting(void) {
  int fd = file();
  OK(flock(fd, LOCK_EX));
  OK(ask(fd, F_SETLK, F_WRLCK, 0, 0));
  IN_CHILD({
    struct sigaction action = {.sa_handler = on_alarm};
    OK(sigaction(SIGALRM, &action, NULL));
    ualarm(50000, 50000);
    int mine = file();
    FAILS(EINTR, flock(mine, LOCK_EX));
    FAILS(EINTR, ask(mine, F_SETLKW, F_WRLCK, 0, 0));
    FAILS(EINTR, ask(mine, F_OFD_SETLKW, F_WRLCK, 0, 0));
  });
}

static void locks_follow_the_inode_through_links_and_renames(void) {
  int fd = file();
  OK(link("f", "g"));
  OK(ask(fd, F_SETLK, F_WRLCK, 0, 0));
  OK(flock(fd, LOCK_EX));
  OK(rename("f", "h"));
  IN_CHILD({
    int mine = OK(open("g", O_RDWR));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 0, 0));
    FAILS(EWOULDBLOCK, flock(mine, LOCK_EX | LOCK_NB));
    mine = OK(open("h", O_RDWR));
    FAILS(EAGAIN, ask(mine, F_SETLK, F_WRLCK, 0, 0));
  });
}

static void leases_are_offered_as_on_a_local_disk(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
  if (fcntl(fd, F_SETLEASE, F_WRLCK) == -1) not_offered("leases");
  CHECK(OK(fcntl(fd, F_GETLEASE)) == F_WRLCK);
  OK(fcntl(fd, F_SETLEASE, F_UNLCK));
  CHECK(OK(fcntl(fd, F_GETLEASE)) == F_UNLCK);
  int reader = OK(open("f", O_RDONLY));
  FAILS(EAGAIN, fcntl(reader, F_SETLEASE, F_WRLCK));
}

static volatile sig_atomic_t told;
static void on_lease(int signal) {
  (void)signal;
  told = 1;
}

static void a_lease_is_broken_by_an_open(void) {
  int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
  struct sigaction action = {.sa_handler = on_lease};
  OK(sigaction(SIGIO, &action, NULL));
  if (fcntl(fd, F_SETLEASE, F_WRLCK) == -1) not_offered("leases");
  fflush(NULL);
  pid_t child = OK(fork());
  if (child == 0) {
    FAILS(EWOULDBLOCK, open("f", O_RDONLY | O_NONBLOCK));
    OK(open("f", O_RDONLY));
    _exit(0);
  }
  while (!told) usleep(1000);
  OK(fcntl(fd, F_SETLEASE, F_UNLCK));
  int status;
  OK(waitpid(child, &status, 0));
  CHECK(status == 0);
}

/* A counter in a file, raised by many processes under each kind of lock, loses nothing. */
static void raise_counter(int kind) {
  enum { PROCESSES = 4, ROUNDS = 250 };
  int fd = file();
  long zero = 0;
  put(fd, &zero, sizeof zero, 0);
  fflush(NULL);
  pid_t children[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    children[p] = OK(fork());
    if (children[p] != 0) continue;
    int mine = file();
    for (int i = 0; i < ROUNDS; i++) {
      long value;
      if (kind == 0) OK(flock(mine, LOCK_EX));
      else OK(ask(mine, kind == 1 ? F_SETLKW : F_OFD_SETLKW, F_WRLCK, 0, 0));
      get(mine, &value, sizeof value, 0);
      value++;
      put(mine, &value, sizeof value, 0);
      if (kind == 0) OK(flock(mine, LOCK_UN));
      else OK(ask(mine, kind == 1 ? F_SETLK : F_OFD_SETLK, F_UNLCK, 0, 0));
    }
    _exit(0);
  }
  for (int p = 0; p < PROCESSES; p++) {
    int status;
    OK(waitpid(children[p], &status, 0));
    CHECK(status == 0);
  }
  long value;
  get(fd, &value, sizeof value, 0);
  CHECK_SAYING(value == PROCESSES * ROUNDS, "%ld of %d", value, PROCESSES * ROUNDS);
}

static void a_counter_under_flock(void) { raise_counter(0); }
static void a_counter_under_record_locks(void) { raise_counter(1); }
static void a_counter_under_ofd_locks(void) { raise_counter(2); }

CASES({"flock-excludes-and-is-freed-by-close", flock_excludes_and_is_freed_by_close},
      {"flock-waits-until-the-holder-ends", flock_waits_until_the_holder_ends},
      {"record-locks-exclude-other-processes-by-range", record_locks_exclude_other_processes_by_range},
      {"getlk-names-the-holder", getlk_names_the_holder},
      {"record-locks-go-with-any-close-and-are-not-inherited", record_locks_go_with_any_close_and_are_not_inherited},
      {"ofd-locks-belong-to-the-open-file", ofd_locks_belong_to_the_open_file},
      {"two-processes-that-wait-for-each-other-get-edeadlk", two_processes_that_wait_for_each_other_get_edeadlk},
      {"a-signal-ends-the-waiting", a_signal_ends_the_waiting},
      {"locks-follow-the-inode-through-links-and-renames", locks_follow_the_inode_through_links_and_renames},
      {"leases-are-offered-as-on-a-local-disk", leases_are_offered_as_on_a_local_disk},
      {"a-lease-is-broken-by-an-open", a_lease_is_broken_by_an_open},
      {"a-counter-under-flock", a_counter_under_flock},
      {"a-counter-under-record-locks", a_counter_under_record_locks},
      {"a-counter-under-ofd-locks", a_counter_under_ofd_locks})

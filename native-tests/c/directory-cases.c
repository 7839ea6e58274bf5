/* Directories: reading them while they change, many names, deep trees, long names and paths. */
#include "cases.h"

static void name_of(char *name, int i) { sprintf(name, "entry-%05d", i); }

static void fill(int from, int to) {
  char name[32];
  for (int i = from; i < to; i++) {
    name_of(name, i);
    OK(close(OK(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644))));
  }
}

/* Counts how often each of the names 0 to count - 1 is listed from the present place on. */
static void count_names(DIR *dir, int *seen, int count) {
  struct dirent *entry;
  int number;
  errno = 0;
  while ((entry = readdir(dir)) != NULL)
    if (sscanf(entry->d_name, "entry-%d", &number) == 1 && number < count) seen[number]++;
  CHECK(errno == 0);
}

static void lists_each_name_once(void) {
  enum { COUNT = 5000 };
  static int seen[COUNT];
  fill(0, COUNT);
  DIR *dir = opendir(".");
  CHECK(dir != NULL);
  count_names(dir, seen, COUNT);
  for (int i = 0; i < COUNT; i++) CHECK_SAYING(seen[i] == 1, "entry %d is listed %d times", i, seen[i]);
  closedir(dir);
}

static void removal_of_what_was_read_hides_nothing(void) {
  enum { COUNT = 5000 };
  fill(0, COUNT);
  DIR *dir = opendir(".");
  struct dirent *entry;
  int removed = 0;
  while ((entry = readdir(dir)) != NULL)
    if (entry->d_name[0] == 'e') {
      OK(unlink(entry->d_name));
      removed++;
    }
  closedir(dir);
  CHECK_SAYING(removed == COUNT, "one pass found %d of %d names", removed, COUNT);
}

static void untouched_names_are_listed_once_while_others_change(void) {
  enum { COUNT = 4000 };
  static int seen[COUNT];
  char name[32], other[32];
  fill(0, COUNT);
  DIR *dir = opendir(".");
  for (int step = 0; step < COUNT; step++) {
    struct dirent *entry = readdir(dir);
    int number;
    if (entry == NULL) break;
    if (sscanf(entry->d_name, "entry-%d", &number) == 1 && number < COUNT) seen[number]++;
    if (step % 3 == 0) { /* names that are multiples of 10 go, come and move */
      int victim = (step * 7) % (COUNT / 10) * 10;
      name_of(name, victim);
      sprintf(other, "moved-%05d", victim);
      if (step % 2 == 0) rename(name, other);
      else unlink(name);
      sprintf(other, "new-%05d", step);
      OK(close(OK(open(other, O_WRONLY | O_CREAT, 0644))));
    }
  }
  count_names(dir, seen, COUNT);
  closedir(dir);
  for (int i = 0; i < COUNT; i++)
    if (i % 10 != 0) CHECK_SAYING(seen[i] == 1, "entry %d is listed %d times", i, seen[i]);
}

static void seekdir_leads_back_while_the_directory_changes(void) {
  enum { COUNT = 3000, MARKS = 30 };
  static int all[COUNT];
  char name[32];
  fill(0, COUNT);
  DIR *dir = opendir(".");
  long place[MARKS];
  static char next[MARKS][NAME_MAX + 1];
  int marks = 0;
  for (int i = 0; marks < MARKS; i++) {
    long here = telldir(dir);
    struct dirent *entry = readdir(dir);
    CHECK(entry != NULL);
    if (i % 90 == 45 && entry->d_name[0] == 'e') {
      place[marks] = here;
      strcpy(next[marks++], entry->d_name);
    }
  }
  for (int i = 0; i < COUNT; i += 2) { /* half of the names go, but not those marked */
    name_of(name, i);
    int marked = 0;
    for (int m = 0; m < marks; m++) marked |= strcmp(next[m], name) == 0;
    if (!marked) OK(unlink(name));
  }
  fill(COUNT, COUNT + 500);
  for (int m = marks - 1; m >= 0; m--) {
    seekdir(dir, place[m]);
    int found = 0;
    for (struct dirent *entry; !found && (entry = readdir(dir)) != NULL;) found = strcmp(entry->d_name, next[m]) == 0;
    CHECK_SAYING(found, "%s is not listed after its place", next[m]);
  }
  rewinddir(dir);
  count_names(dir, all, COUNT);
  for (int i = 1; i < COUNT; i += 2) CHECK_SAYING(all[i] == 1, "entry %d is listed %d times", i, all[i]);
  closedir(dir);
}

static void seekdir_works_in_a_directory_opened_anew(void) {
  enum { COUNT = 2500 };
  fill(0, COUNT);
  static char expected[COUNT + 2][NAME_MAX + 1];
  static long place[COUNT + 2];
  int count = 0;
  DIR *dir = opendir(".");
  for (;;) {
    long here = telldir(dir);
    struct dirent *entry = readdir(dir);
    if (entry == NULL) break;
    place[count] = here;
    strcpy(expected[count++], entry->d_name);
  }
  closedir(dir);
  CHECK(count == COUNT + 2);
  int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
  for (int i = 2; i < count; i += 111) {
    char buffer[4096];
    OK(lseek(fd, place[i], SEEK_SET));
    CHECK(OK(syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0);
    struct dirent64 *entry = (struct dirent64 *)buffer;
    CHECK_SAYING(strcmp(entry->d_name, expected[i]) == 0, "%s where %s was", entry->d_name, expected[i]);
  }
  OK(close(fd));
}

/* The kernel keeps a listing for who opens the directory next, and may lose pages of it at any time. */
static void a_kept_listing_that_loses_pages_hides_nothing(void) {
  enum { COUNT = 5000 };
  fill(0, COUNT);
  int drop = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (drop == -1) not_offered("dropping caches");
  DIR *dir = opendir(".");
  while (readdir(dir) != NULL) {}
  closedir(dir);
  dir = opendir(".");
  int removed = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (entry->d_name[0] == 'e') {
      OK(unlink(entry->d_name));
      if (++removed == COUNT / 2) OK(write(drop, "1", 1));
    }
  closedir(dir);
  CHECK_SAYING(removed == COUNT, "one pass found %d of %d names", removed, COUNT);
}

static void rewinddir_shows_new_names(void) {
  DIR *dir = opendir(".");
  while (readdir(dir) != NULL) {}
  make_file("later", "x");
  rewinddir(dir);
  int found = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) found |= strcmp(entry->d_name, "later") == 0;
  CHECK(found);
  closedir(dir);
}

static void types_and_inodes_of_entries_are_those_of_stat(void) {
  OK(mkdir("dir", 0755));
  make_file("file", "x");
  OK(link("file", "link"));
  OK(symlink("file", "symlink"));
  OK(mkfifo("fifo", 0644));
  OK(mknod("socket", S_IFSOCK | 0644, 0));
  OK(mkdir("dir/below", 0755));
  OK(chdir("dir"));
  for (int round = 0; round < 2; round++) {
    DIR *dir = opendir(round == 0 ? "." : "..");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
      struct stat st;
      OK(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW));
      int is_root_of_case = round == 1 && strcmp(entry->d_name, "..") == 0;
      if (!is_root_of_case)
        CHECK_SAYING(entry->d_ino == st.st_ino, "%s: d_ino %lu, st_ino %lu", entry->d_name, entry->d_ino, st.st_ino);
      CHECK_SAYING((mode_t)DTTOIF(entry->d_type) == (st.st_mode & S_IFMT), "%s has d_type %d", entry->d_name, entry->d_type);
    }
    closedir(dir);
  }
}

static void fifty_thousand_entries(void) {
  enum { COUNT = 50000 };
  static int seen[COUNT];
  char name[32];
  fill(0, COUNT);
  DIR *dir = opendir(".");
  count_names(dir, seen, COUNT);
  closedir(dir);
  for (int i = 0; i < COUNT; i++) CHECK_SAYING(seen[i] == 1, "entry %d is listed %d times", i, seen[i]);
  for (int i = 0; i < COUNT; i += 997) {
    name_of(name, i);
    CHECK(stat_of(name).st_nlink == 1);
  }
  FAILS(ENOENT, access("entry-99999", F_OK));
  for (int i = 0; i < COUNT; i++) {
    name_of(name, i);
    OK(unlink(name));
  }
  dir = opendir(".");
  int left = 0;
  while (readdir(dir) != NULL) left++;
  CHECK_SAYING(left == 2, "%d entries are left", left - 2);
  closedir(dir);
}

static void a_thousand_levels(void) {
  enum { LEVELS = 1000 };
  int start = OK(open(".", O_RDONLY | O_DIRECTORY));
  ino_t ino[LEVELS + 1];
  ino[0] = stat_of(".").st_ino;
  for (int i = 1; i <= LEVELS; i++) {
    OK(mkdir("d", 0755));
    OK(chdir("d"));
    ino[i] = stat_of(".").st_ino;
  }
  make_file("bottom", "deep");
  for (int i = LEVELS; i > 0; i--) {
    CHECK(stat_of(".").st_ino == ino[i]);
    CHECK(stat_of(".").st_nlink == (i == LEVELS ? 2 : 3));
    OK(chdir(".."));
    CHECK(stat_of(".").st_ino == ino[i - 1]);
  }
  char path[2 * LEVELS + 16];
  for (int i = 0; i < LEVELS; i++) memcpy(path + 2 * i, "d/", 2);
  strcpy(path + 2 * LEVELS, "bottom");
  CHECK(stat_of(path).st_size == 4);
  OK(fchdir(start));
  /* The top cannot go into the bottom. */
  path[2 * LEVELS - 1] = 0;
  char inside[sizeof path + 8];
  sprintf(inside, "%s/loop", path);
  FAILS(EINVAL, rename("d", inside));
  OK(rename("d", "renamed"));
  path[2 * LEVELS - 1] = '/';
  memmove(path + 7, path + 1, strlen(path));
  memcpy(path, "renamed", 7);
  CHECK(stat_of(path).st_size == 4);
}

static void paths_of_4095_bytes(void) {
  char path[4200];
  size_t length = 0;
  int start = OK(open(".", O_RDONLY | O_DIRECTORY));
  while (length + 201 < 4095) { /* directories of 200 bytes and a slash */
    memset(path + length, 'a' + (int)(length / 201 % 26), 200);
    path[length + 200] = 0;
    OK(mkdir(path + length, 0755));
    OK(chdir(path + length));
    path[length + 200] = '/';
    length += 201;
  }
  OK(fchdir(start));
  memset(path + length, 'z', sizeof path - length);
  path[4095] = 0;
  make_file(path, "far");
  CHECK(stat_of(path).st_size == 3);
  path[4095] = 'z';
  path[4096] = 0;
  FAILS(ENAMETOOLONG, open(path, O_RDONLY));
  path[4095] = 0;
  OK(rename(path, "near"));
  CHECK(stat_of("near").st_size == 3);
  char target[4096];
  memset(target, 't', 4095);
  target[4095] = 0;
  OK(symlink(target, "longest"));
  char back[5000];
  CHECK(OK(readlink("longest", back, sizeof back)) == 4095);
  CHECK(memcmp(back, target, 4095) == 0);
  CHECK(stat_of("longest").st_size == 4095);
}

/* Makes it, finds it listed with the very same bytes, and removes it. */
static void keeps_name(const char *name) {
  make_file(name, name);
  struct stat st;
  OK(stat(name, &st));
  CHECK(st.st_size == (off_t)strlen(name));
  int found = 0, others = 0;
  DIR *dir = opendir(".");
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (strcmp(entry->d_name, name) == 0) found++;
    else others++;
  }
  closedir(dir);
  CHECK_SAYING(found == 1 && others == 0, "%s: listed %d times, and %d other names", name, found, others);
  OK(unlink(name));
}

static void names_in_every_script(void) {
  static const char *const units[] = {
      "a", "é", "e\xcc\x81", "ß", "я", "λ", "א", "ع", "ह", "ไ", "한", "日", "漢", "😀", "👩‍👩‍👧", "𝔘", "\xe2\x80\xae", "\xef\xbb\xbf",
      "\xc2\x85", "\xe2\x80\xa8", "\x01", "\x1f", "\x7f", "\n", "\t", " ", "\\", "\"", "'", "*", "?", ":", "|", "-", "@", "%", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbf", "\xc2\x80"};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    char name[NAME_MAX + 1] = "";
    size_t length = strlen(units[i]), at = 0;
    keeps_name(units[i]);
    for (; at + length <= NAME_MAX; at += length) memcpy(name + at, units[i], length);
    while (at < NAME_MAX) name[at++] = 'x';
    name[NAME_MAX] = 0;
    keeps_name(name);
  }
  char tooLong[NAME_MAX + 2];
  memset(tooLong, 'n', NAME_MAX + 1);
  tooLong[NAME_MAX + 1] = 0;
  FAILS(ENAMETOOLONG, open(tooLong, O_CREAT | O_WRONLY, 0644));
}

static void composed_and_decomposed_names_are_two(void) {
  make_file("caf\xc3\xa9", "composed");
  make_file("cafe\xcc\x81", "decomposed!");
  CHECK(stat_of("caf\xc3\xa9").st_size == 8);
  CHECK(stat_of("cafe\xcc\x81").st_size == 11);
  make_file("Case", "1");
  make_file("case", "22");
  CHECK(stat_of("Case").st_size == 1);
}

/* Kept byte for byte, or refused; never another name. */
static void names_that_are_not_utf8_are_kept_or_refused(void) {
  static const char *const names[] = {"\xff", "\xfe\xff", "a\x80z", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "latin1-\xe9", "\xe2\x82", "\xf8\x88\x80\x80\x80", "ok\xffok"};
  make_file("witness", "w");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int fd = open(names[i], O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd == -1) {
      CHECK_SAYING(errno == EILSEQ || errno == EINVAL, "name %zu is refused otherwise", i);
      CHECK(mkdir(names[i], 0755) == -1 && symlink("x", names[i]) == -1 && mkfifo(names[i], 0644) == -1);
      CHECK(link("witness", names[i]) == -1 && rename("witness", names[i]) == -1);
      struct stat st;
      CHECK(lstat(names[i], &st) == -1 && unlink(names[i]) == -1);
    } else {
      OK(close(fd));
      CHECK(stat_of(names[i]).st_size == 0);
      OK(unlink(names[i]));
    }
  }
  int count = 0;
  DIR *dir = opendir(".");
  while (readdir(dir) != NULL) count++;
  closedir(dir);
  CHECK_SAYING(count == 3, "%d names are left", count - 2);
  /* Link targets and attribute values are bytes to the file system. */
  int made = symlink("\xff\xfe", "target");
  if (made == 0) {
    char back[8] = "";
    CHECK(OK(readlink("target", back, sizeof back)) == 2);
    CHECK(memcmp(back, "\xff\xfe", 2) == 0);
  } else CHECK(errno == EILSEQ || errno == EINVAL);
}

static void a_removed_working_directory(void) {
  OK(mkdir("gone", 0755));
  OK(chdir("gone"));
  OK(rmdir("../gone"));
  FAILS(ENOENT, open("new", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOENT, mkdir("new", 0755));
  FAILS(ENOENT, symlink("x", "new"));
  FAILS(ENOENT, mkfifo("new", 0644));
  char path[PATH_MAX];
  FAILS(ENOENT, getcwd(path, sizeof path) == NULL ? -1 : 0);
  struct stat st;
  OK(stat(".", &st));
  CHECK_SAYING(st.st_nlink == 0, "nlink %lu", (unsigned long)st.st_nlink);
  DIR *dir = opendir(".");
  CHECK(dir != NULL);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) CHECK(entry->d_name[0] == '.');
  closedir(dir);
  OK(mkdir("../gone", 0755)); /* another one of that name */
  FAILS(ENOENT, open("new", O_CREAT | O_WRONLY, 0644));
  OK(chdir("../gone"));
  make_file("new", "x");
}

static void a_removed_directory_that_is_still_open(void) {
  OK(mkdir("gone", 0755));
  int fd = OK(open("gone", O_RDONLY | O_DIRECTORY));
  OK(rmdir("gone"));
  FAILS(ENOENT, openat(fd, "new", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOENT, mkdirat(fd, "new", 0755));
  make_file("file", "x");
  FAILS(ENOENT, linkat(AT_FDCWD, "file", fd, "new", 0));
  FAILS(ENOENT, renameat(AT_FDCWD, "file", fd, "new"));
  OK(fchmod(fd, 0700));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK((st.st_mode & 0777) == 0700);
  OK(close(fd));
}

static void a_thousand_hard_links(void) {
  char name[32];
  make_file("first", "linked");
  for (int i = 0; i < 1000; i++) {
    name_of(name, i);
    OK(link("first", name));
  }
  CHECK(stat_of("first").st_nlink == 1001);
  CHECK(stat_of("entry-00999").st_ino == stat_of("first").st_ino);
  OK(unlink("first"));
  for (int i = 0; i < 1000; i++) {
    name_of(name, i);
    struct stat st = stat_of(name);
    CHECK_SAYING(st.st_nlink == (nlink_t)(1000 - i) && st.st_size == 6, "%s: nlink %lu", name, (unsigned long)st.st_nlink);
    if (i < 999) OK(unlink(name));
  }
}

static void counts_of_links_of_directories(void) {
  OK(mkdir("top", 0755));
  char name[32];
  for (int i = 0; i < 300; i++) {
    sprintf(name, "top/d%d", i);
    OK(mkdir(name, 0755));
  }
  CHECK(stat_of("top").st_nlink == 302);
  OK(mkdir("other", 0755));
  OK(rename("top/d0", "other/d0"));
  CHECK(stat_of("top").st_nlink == 301 && stat_of("other").st_nlink == 3);
  make_file("other/file", "x");
  OK(renameat2(AT_FDCWD, "other/file", AT_FDCWD, "top/d1", RENAME_EXCHANGE));
  CHECK(stat_of("top").st_nlink == 300 && stat_of("other").st_nlink == 4);
  OK(rmdir("other/file"));
  CHECK(stat_of("other").st_nlink == 3);
}

/* While one process replaces a file by rename, others always find one, and a whole one. */
static void replacing_by_rename_is_atomic(void) {
  enum { ROUNDS = 1500, SIZE = 6000 };
  char block[SIZE];
  memset(block, 'a', SIZE);
  int fd = OK(open("target", O_WRONLY | O_CREAT, 0644));
  put(fd, block, SIZE, 0);
  OK(close(fd));
  fflush(NULL);
  pid_t writer = OK(fork());
  if (writer == 0) {
    for (int i = 0; i < ROUNDS; i++) {
      memset(block, 'a' + i % 26, SIZE);
      fd = OK(open("temporary", O_WRONLY | O_CREAT | O_TRUNC, 0644));
      put(fd, block, SIZE, 0);
      OK(close(fd));
      OK(rename("temporary", "target"));
    }
    _exit(0);
  }
  int status;
  long looks = 0;
  while (waitpid(writer, &status, WNOHANG) == 0) {
    fd = OK(open("target", O_RDONLY));
    ssize_t got = OK(read(fd, block, SIZE));
    CHECK_SAYING(got == SIZE, "a file of %zd bytes was seen", got);
    CHECK(is_all(block, block[0], SIZE));
    OK(close(fd));
    looks++;
  }
  CHECK(status == 0 && looks > 10);
}

static void exchange_is_atomic(void) {
  make_file("a", "first");
  make_file("b", "second");
  fflush(NULL);
  pid_t writer = OK(fork());
  if (writer == 0) {
    for (int i = 0; i < 3000; i++) OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    _exit(0);
  }
  int status;
  while (waitpid(writer, &status, WNOHANG) == 0) {
    struct stat st;
    OK(stat("a", &st));
    OK(stat("b", &st));
  }
  CHECK(status == 0);
  CHECK(stat_of("a").st_size == 5 && stat_of("b").st_size == 6);
}

/* Processes that create, link, rename and remove the same few names: only the errors of such races are seen. */
static void races_for_the_same_names(void) {
  fflush(NULL);
  enum { PROCESSES = 4 };
  pid_t children[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    children[p] = OK(fork());
    if (children[p] != 0) continue;
    unsigned seed = 17u * (unsigned)(p + 1);
    for (int i = 0; i < 2500; i++) {
      char a[8], b[8];
      sprintf(a, "n%d", rand_r(&seed) % 6);
      sprintf(b, "n%d", rand_r(&seed) % 6);
      int result = 0, fd;
      switch (rand_r(&seed) % 6) {
        case 0: result = (fd = open(a, O_CREAT | O_EXCL | O_WRONLY, 0644)) == -1 ? -1 : close(fd); break;
        case 1: result = unlink(a); break;
        case 2: result = rename(a, b); break;
        case 3: result = link(a, b); break;
        case 4: result = mkdir(a, 0755); break;
        default: result = rmdir(a);
      }
      if (result == -1)
        CHECK_SAYING(errno == ENOENT || errno == EEXIST || errno == EISDIR || errno == ENOTDIR || errno == EPERM ||
                         errno == ENOTEMPTY,
                     "%s and %s", a, b);
    }
    _exit(0);
  }
  for (int p = 0; p < PROCESSES; p++) {
    int status;
    OK(waitpid(children[p], &status, 0));
    CHECK(status == 0);
  }
  /* What is listed exists, with as many links as there are names of it. */
  DIR *dir = opendir(".");
  struct stat all[16];
  int count = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (entry->d_name[0] == 'n') all[count++] = stat_of(entry->d_name);
  closedir(dir);
  for (int i = 0; i < count; i++) {
    if (S_ISDIR(all[i].st_mode)) continue;
    nlink_t same = 0;
    for (int j = 0; j < count; j++) same += all[j].st_ino == all[i].st_ino;
    CHECK_SAYING(same == all[i].st_nlink, "%lu names and nlink %lu", (unsigned long)same, (unsigned long)all[i].st_nlink);
  }
}

/* Moving a directory to and fro while others look below it: never an error but ENOENT, and never a wrong file. */
static void moving_a_directory_under_readers(void) {
  OK(mkdir("one", 0755));
  OK(mkdir("one/sub", 0755));
  make_file("one/sub/file", "stays");
  fflush(NULL);
  pid_t writer = OK(fork());
  if (writer == 0) {
    for (int i = 0; i < 1500; i++) {
      OK(rename("one", "two"));
      OK(rename("two", "one"));
    }
    _exit(0);
  }
  int status;
  long hits = 0;
  while (waitpid(writer, &status, WNOHANG) == 0) {
    struct stat st;
    if (stat(rand() % 2 ? "one/sub/file" : "two/sub/file", &st) == 0) {
      CHECK(st.st_size == 5);
      hits++;
    } else CHECK_SAYING(errno == ENOENT, "stat");
  }
  CHECK(status == 0 && hits > 0);
}

CASES({"lists-each-name-once", lists_each_name_once},
      {"removal-of-what-was-read-hides-nothing", removal_of_what_was_read_hides_nothing},
      {"untouched-names-are-listed-once-while-others-change", untouched_names_are_listed_once_while_others_change},
      {"seekdir-leads-back-while-the-directory-changes", seekdir_leads_back_while_the_directory_changes},
      {"seekdir-works-in-a-directory-opened-anew", seekdir_works_in_a_directory_opened_anew},
      {"a-kept-listing-that-loses-pages-hides-nothing", a_kept_listing_that_loses_pages_hides_nothing},
      {"rewinddir-shows-new-names", rewinddir_shows_new_names},
      {"types-and-inodes-of-entries-are-those-of-stat", types_and_inodes_of_entries_are_those_of_stat},
      {"fifty-thousand-entries", fifty_thousand_entries},
      {"a-thousand-levels", a_thousand_levels},
      {"paths-of-4095-bytes", paths_of_4095_bytes},
      {"names-in-every-script", names_in_every_script},
      {"composed-and-decomposed-names-are-two", composed_and_decomposed_names_are_two},
      {"names-that-are-not-utf8-are-kept-or-refused", names_that_are_not_utf8_are_kept_or_refused},
      {"a-removed-working-directory", a_removed_working_directory},
      {"a-removed-directory-that-is-still-open", a_removed_directory_that_is_still_open},
      {"a-thousand-hard-links", a_thousand_hard_links},
      {"counts-of-links-of-directories", counts_of_links_of_directories},
      {"replacing-by-rename-is-atomic", replacing_by_rename_is_atomic},
      {"exchange-is-atomic", exchange_is_atomic},
      {"races-for-the-same-names", races_for_the_same_names},
      {"moving-a-directory-under-readers", moving_a_directory_under_readers})

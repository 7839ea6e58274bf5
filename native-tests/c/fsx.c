/*
 * One file against a picture of it in memory: a seeded random sequence of every operation that changes or reads its
 * bytes. Ends with 1 at the first difference, after the last operations and the seed. `fsx [options] FILE`:
 *   -s SEED   -n OPERATIONS   -l LARGEST-SIZE
 *   -m        no mappings     -d  only direct reads and writes, aligned   -a  everything aligned to pages
 *   -h        a second open file, used at random
 *   -c DIR    every -e operations (default 200) a commit of the artifact in DIR, whose version has to show the picture;
 *             at the end all versions are compared again
 *   -A        every operation has to be offered; without it those that answer EOPNOTSUPP are left out
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, LOG = 60, VERSIONS = 400 };

static const char *path, *artifact, *name_in_artifact;
static unsigned seed = 1;
static long operations = 1000, largest = 256 * 1024, number, commit_every = 200;
static int no_maps, only_direct, aligned, second_handle, demand_all;

static unsigned char *image, *scratch;
static off_t size;
static int handles[2], direct, pipes[2], scratch_file;
static char history[LOG][160];

static struct {
  long version;
  off_t size;
  uint64_t sum;
} versions[VERSIONS];
static int version_count;

static void note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int used = snprintf(history[number % LOG], 160, "%ld ", number);
  vsnprintf(history[number % LOG] + used, (size_t)(160 - used), format, arguments);
  va_end(arguments);
}

static void die(const char *format, ...) {
  int error = errno;
  va_list arguments;
  fprintf(stderr, "operations up to %ld, size %ld:\n", number, (long)size);
  for (long i = number >= LOG ? number - LOG + 1 : 0; i <= number; i++) fprintf(stderr, "  %s\n", history[i % LOG]);
  fprintf(stderr, "seed %u, operation %ld: ", seed, number);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, " (errno %d: %s)\n", error, strerror(error));
  exit(1);
}

static unsigned state;
static long pick(long below) { return below <= 0 ? 0 : (long)(((uint64_t)rand_r(&state) << 15 ^ (uint64_t)rand_r(&state)) % (uint64_t)below); }
static int handle(void) { return handles[second_handle ? pick(2) : 0]; }

/* Three of four are short; some begin or end at a page. */
static void range(long *offset, long *length, long limit) {
  *offset = pick(limit);
  *length = 1 + pick(pick(4) == 0 ? limit / 2 + 1 : 9000);
  if (aligned || pick(4) == 0) *offset = *offset / PAGE * PAGE;
  if (aligned || pick(6) == 0) *length = (*length + PAGE - 1) / PAGE * PAGE;
  if (*offset + *length > limit) *length = limit - *offset;
  if (*length < 0) *length = 0;
}

static void fill(unsigned char *bytes, long length) {
  unsigned value = (unsigned)number * 2654435761u ^ seed;
  for (long i = 0; i < length; i++) bytes[i] = (unsigned char)((value + (unsigned)i * 7u) >> (i & 8 ? 8 : 3)) | 1;
}

/* The picture after bytes came to [offset, offset + length). */
static void drawn(long offset, long length) {
  memcpy(image + offset, scratch, (size_t)length);
  if (offset + length > size) size = offset + length;
}

static void compare(const char *what, const unsigned char *seen, long offset, long length) {
  if (memcmp(seen, image + offset, (size_t)length) == 0) return;
  long first = 0, count = 0;
  while (seen[first] == image[offset + first]) first++;
  for (long i = first; i < length; i++) count += seen[i] != image[offset + i];
  die("%s: at %#lx there is %02x instead of %02x; %ld bytes differ", what, offset + first, seen[first], image[offset + first], count);
}

static void check_size(void) {
  struct stat st;
  if (fstat(handle(), &st) != 0) die("fstat");
  if (st.st_size != size) die("fstat shows size %ld", (long)st.st_size);
  if (lseek(handle(), 0, SEEK_END) != size) die("the end is at another place");
}

static void check_all(int fd, const char *what) {
  for (off_t at = 0; at < size;) {
    ssize_t got = pread(fd, scratch, (size_t)(size - at), at);
    if (got <= 0) die("%s: pread at %ld answered %zd", what, (long)at, got);
    compare(what, scratch, at, got);
    at += got;
  }
  if (pread(fd, scratch, 10, size) != 0) die("%s: something is behind the end", what);
}

static void do_read(void) {
  long offset, length;
  range(&offset, &length, size);
  note("read %#lx + %#lx", offset, length);
  ssize_t got = pread(handle(), scratch, (size_t)length, offset);
  if (got != length) die("pread answered %zd", got);
  compare("read", scratch, offset, length);
}

static void do_write(void) {
  long offset, length;
  range(&offset, &length, largest);
  note("write %#lx + %#lx", offset, length);
  fill(scratch, length);
  ssize_t put = pwrite(handle(), scratch, (size_t)length, offset);
  if (put != length) die("pwrite answered %zd", put);
  if (length > 0) drawn(offset, length);
}

static void do_direct(int writes) {
  long offset = pick(largest) / PAGE * PAGE, length = (1 + pick(pick(3) == 0 ? 64 : 5)) * PAGE;
  if (offset + length > largest) length = (largest - offset) / PAGE * PAGE;
  note("direct %s %#lx + %#lx", writes ? "write" : "read", offset, length);
  if (length == 0) return;
  if (writes) {
    fill(scratch, length);
    ssize_t put = pwrite(direct, scratch, (size_t)length, offset);
    if (put != length) die("direct pwrite answered %zd", put);
    drawn(offset, length);
  } else {
    long there = size <= offset ? 0 : size - offset < length ? size - offset : length;
    ssize_t got = pread(direct, scratch, (size_t)length, offset);
    if (got != there) die("direct pread answered %zd of %ld", got, there);
    compare("direct read", scratch, offset, there);
  }
}
static void do_direct_read(void) { do_direct(0); }
static void do_direct_write(void) { do_direct(1); }

static void do_map(int writes) {
  long offset, length;
  range(&offset, &length, size);
  if (length == 0) return;
  int synced = (int)pick(3);
  note("map %s %#lx + %#lx%s", writes ? "write" : "read", offset, length, writes && synced ? " synced" : "");
  long first = offset / PAGE * PAGE;
  unsigned char *at = mmap(NULL, (size_t)(offset + length - first), writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, handle(), first);
  if (at == MAP_FAILED) die("mmap");
  if (writes) {
    fill(scratch, length);
    memcpy(at + offset - first, scratch, (size_t)length);
    drawn(offset, length);
    if (synced && msync(at, (size_t)(offset + length - first), MS_SYNC) != 0) die("msync");
  } else compare("mapping", at + offset - first, offset, length);
  /* the last page beyond the end of the file is zeros, as long as nobody stored there */
  if (offset + length == size && size % PAGE != 0)
    for (unsigned char *end = at + offset - first + length; ((uintptr_t)end & (PAGE - 1)) != 0; end++)
      if (*end != 0) die("the mapping shows %02x behind the end", *end);
  if (munmap(at, (size_t)(offset + length - first)) != 0) die("munmap");
}
static void do_map_read(void) { do_map(0); }
static void do_map_write(void) { do_map(1); }

static void resize(long to) {
  if (to < size) memset(image + to, 0, (size_t)(size - to));
  size = to;
}

static void do_truncate(void) {
  long to = pick(3) == 0 && size > 0 ? pick(size) : pick(largest);
  if (aligned) to = to / PAGE * PAGE;
  note("truncate to %#lx from %#lx", to, (long)size);
  if ((pick(2) ? ftruncate(handle(), to) : truncate(path, to)) != 0) die("truncate");
  resize(to);
}

static void do_append(void) {
  long length = 1 + pick(9000);
  if (aligned) length = PAGE;
  if (size + length > largest) return;
  note("append %#lx at %#lx", length, (long)size);
  int fd = open(path, O_WRONLY | O_APPEND);
  if (fd < 0) die("open for append");
  fill(scratch, length);
  ssize_t put = write(fd, scratch, (size_t)length);
  if (put != length) die("append answered %zd", put);
  if (close(fd) != 0) die("close");
  drawn(size, length);
}

static void do_splice(void) {
  long offset, length;
  range(&offset, &length, largest);
  if (length > 60000) length = 60000;
  if (length == 0) return;
  note("splice in %#lx + %#lx", offset, length);
  fill(scratch, length);
  if (write(pipes[1], scratch, (size_t)length) != length) die("write to the pipe");
  loff_t at = offset;
  for (long left = length; left > 0;) {
    ssize_t moved = splice(pipes[0], NULL, handle(), &at, (size_t)left, 0);
    if (moved <= 0) die("splice answered %zd", moved);
    left -= moved;
  }
  drawn(offset, length);
}

static void do_send(void) {
  long offset, length;
  range(&offset, &length, size);
  if (length == 0) return;
  note("sendfile %#lx + %#lx", offset, length);
  off_t at = offset;
  if (ftruncate(scratch_file, 0) != 0 || lseek(scratch_file, 0, SEEK_SET) != 0) die("scratch file");
  while (at < offset + length)
    if (sendfile(scratch_file, handle(), &at, (size_t)(offset + length - at)) <= 0) die("sendfile");
  if (pread(scratch_file, scratch, (size_t)length, 0) != length) die("scratch file");
  compare("sendfile", scratch, offset, length);
}

static void do_seek(void) {
  if (size == 0) return;
  long from = pick(size);
  off_t data = lseek(handle(), from, SEEK_DATA);
  if (data == -1 && errno != ENXIO) die("SEEK_DATA");
  note("seek data from %#lx: %#lx", from, (long)data);
  if (data != -1 && (data < from || data >= size)) die("data at %#lx", (long)data);
  for (off_t at = from; at < (data == -1 ? size : data); at++)
    if (image[at] != 0) die("a byte of data at %#lx is called a hole", (long)at);
  off_t hole = lseek(handle(), from, SEEK_HOLE);
  if (hole < from || hole > size) die("hole at %#lx", (long)hole);
  if (hole < size) {
    data = lseek(handle(), hole, SEEK_DATA);
    for (off_t at = hole; at < (data == -1 ? size : data); at++)
      if (image[at] != 0) die("a byte of data at %#lx is called a hole, from %#lx on", (long)at, (long)hole);
  }
}

static void allocate(int mode, const char *what) {
  long offset, length;
  range(&offset, &length, largest);
  if (length == 0) return;
  note("%s %#lx + %#lx", what, offset, length);
  if (fallocate(handle(), mode, offset, length) != 0) die("fallocate");
  long end = offset + length;
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) memset(image + offset, 0, (size_t)length);
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && end > size) size = end;
}
static void do_allocate(void) { allocate(0, "allocate"); }
static void do_allocate_keep(void) { allocate(FALLOC_FL_KEEP_SIZE, "allocate, keep size"); }
static void do_punch(void) { allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"); }
static void do_zero(void) { allocate(FALLOC_FL_ZERO_RANGE, "zero"); }
static void do_zero_keep(void) { allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero, keep size"); }

static void do_copy(int clone) {
  long from, to, length;
  range(&from, &length, size);
  to = pick(largest);
  if (aligned || clone) from = from / PAGE * PAGE, to = to / PAGE * PAGE, length = length / PAGE * PAGE;
  if (to + length > largest) length = largest - to;
  if (labs(from - to) < length) length = labs(from - to); /* they must not overlap */
  if (clone) length = length / PAGE * PAGE;
  if (length <= 0) return;
  note("%s %#lx + %#lx to %#lx", clone ? "clone" : "copy", from, length, to);
  if (clone) {
    struct file_clone_range request = {.src_fd = handle(), .src_offset = (uint64_t)from, .src_length = (uint64_t)length, .dest_offset = (uint64_t)to};
    if (ioctl(handle(), FICLONERANGE, &request) != 0) {
      if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL || errno == EXDEV) return;
      die("FICLONERANGE");
    }
  } else {
    loff_t in = from, out = to;
    for (long left = length; left > 0;) {
      ssize_t copied = copy_file_range(handle(), &in, handle(), &out, (size_t)left, 0);
      if (copied <= 0) die("copy_file_range answered %zd", copied);
      left -= copied;
    }
  }
  memcpy(scratch, image + from, (size_t)length);
  drawn(to, length);
}
static void do_copy_range(void) { do_copy(0); }
static void do_clone(void) { do_copy(1); }

static void open_all(void) {
  handles[0] = open(path, only_direct ? O_RDWR | O_DIRECT : O_RDWR);
  if (handles[0] < 0) die("open");
  if (second_handle && (handles[1] = open(path, O_RDWR)) < 0) die("open");
  if ((direct = open(path, O_RDWR | O_DIRECT)) < 0) die("open, direct");
}

static void close_all(void) {
  if (close(handles[0]) != 0 || (second_handle && close(handles[1]) != 0) || close(direct) != 0) die("close");
}

static void do_reopen(void) {
  note("close and open");
  close_all();
  open_all();
}

static void do_sync(void) {
  int kind = (int)pick(4);
  note(kind == 3 ? "fsync and drop the pages" : "fsync");
  if ((kind == 0 ? fdatasync(handle()) : fsync(handle())) != 0) die("fsync");
  if (kind == 3 && posix_fadvise(handle(), 0, 0, POSIX_FADV_DONTNEED) != 0) die("fadvise");
}

static uint64_t sum_of(const unsigned char *bytes, off_t length) {
  uint64_t sum = 14695981039346656037u;
  for (off_t i = 0; i < length; i++) sum = (sum ^ bytes[i]) * 1099511628211u;
  return sum;
}

static void version_path(char *to, long version) { sprintf(to, "%s/.artifact/versions/v%ld/%s", artifact, version, name_in_artifact); }

static long newest_version(void) {
  char directory[4096];
  sprintf(directory, "%s/.artifact/versions", artifact);
  DIR *dir = opendir(directory);
  if (dir == NULL) die("opendir %s", directory);
  long newest = 0, found;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (sscanf(entry->d_name, "v%ld", &found) == 1 && found > newest) newest = found;
  closedir(dir);
  return newest;
}

static void do_commit(void) {
  char control[4096], at[4096];
  sprintf(control, "%s/.artifact/commit", artifact);
  int fd = open(control, O_WRONLY);
  if (fd < 0) die("open %s", control);
  note("commit");
  if (write(fd, "fsx\n", 4) != 4 && errno != ENODATA) die("commit");
  close(fd);
  long version = newest_version();
  note("commit of v%ld", version);
  version_path(at, version);
  if ((fd = open(at, O_RDONLY)) < 0) die("open %s", at);
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size != size) die("v%ld has %ld bytes", version, (long)st.st_size);
  check_all(fd, "version");
  close(fd);
  if (version_count < VERSIONS) {
    versions[version_count].version = version;
    versions[version_count].size = size;
    versions[version_count++].sum = sum_of(image, size);
  }
}

static void check_versions(void) {
  char at[4096];
  for (int i = 0; i < version_count; i++) {
    version_path(at, versions[i].version);
    int fd = open(at, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) die("%s", at);
    if (st.st_size != versions[i].size) die("v%ld has changed its size to %ld", versions[i].version, (long)st.st_size);
    for (off_t done = 0; done < st.st_size;) {
      ssize_t got = pread(fd, scratch + done, (size_t)(st.st_size - done), done);
      if (got <= 0) die("pread of v%ld answered %zd", versions[i].version, got);
      done += got;
    }
    if (sum_of(scratch, st.st_size) != versions[i].sum) die("v%ld has changed", versions[i].version);
    close(fd);
  }
}

struct operation {
  void (*run)(void);
  int weight, mode, is_map, needs_cache, is_offered;
};

static struct operation table[] = {
    {do_read, 20, -1, 0, 1, 1},      {do_write, 20, -1, 0, 1, 1},        {do_direct_read, 8, -1, 0, 0, 1},
    {do_direct_write, 8, -1, 0, 0, 1}, {do_map_read, 10, -1, 1, 1, 1},   {do_map_write, 12, -1, 1, 1, 1},
    {do_truncate, 7, -1, 0, 0, 1},   {do_append, 5, -1, 0, 1, 1},        {do_splice, 4, -1, 0, 1, 1},
    {do_send, 4, -1, 0, 1, 1},       {do_seek, 4, -1, 0, 0, 1},          {do_allocate, 4, 0, 0, 0, 1},
    {do_allocate_keep, 3, FALLOC_FL_KEEP_SIZE, 0, 0, 1},
    {do_punch, 6, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 0, 1},
    {do_zero, 4, FALLOC_FL_ZERO_RANGE, 0, 0, 1}, {do_zero_keep, 4, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 0, 1},
    {do_copy_range, 6, -1, 0, 0, 1}, {do_clone, 2, -1, 0, 0, 1},         {do_reopen, 3, -1, 0, 0, 1},
    {do_sync, 4, -1, 0, 0, 1},
};
enum { KINDS = sizeof table / sizeof *table };

static int choose_operations(void) {
  int weights = 0;
  for (int i = 0; i < KINDS; i++) {
    struct operation *operation = &table[i];
    if (operation->mode >= 0 && fallocate(handles[0], operation->mode, 0, PAGE) != 0) {
      if (errno != EOPNOTSUPP || demand_all) die("fallocate with mode %#x", operation->mode);
      printf("left out: fallocate with mode %#x\n", operation->mode);
      operation->is_offered = 0;
    }
    if ((no_maps || only_direct) && operation->is_map) operation->is_offered = 0;
    if (only_direct && operation->needs_cache) operation->is_offered = 0;
    if (operation->is_offered) weights += operation->weight;
  }
  if (ftruncate(handles[0], 0) != 0) die("truncate");
  return weights;
}

static void options(int argc, char **argv) {
  for (int option; (option = getopt(argc, argv, "s:n:l:e:c:mdahA")) != -1;) switch (option) {
      case 's': seed = (unsigned)strtoul(optarg, NULL, 10); break;
      case 'n': operations = atol(optarg); break;
      case 'l': largest = atol(optarg); break;
      case 'e': commit_every = atol(optarg); break;
      case 'c': artifact = optarg; break;
      case 'm': no_maps = 1; break;
      case 'd': only_direct = aligned = 1; break;
      case 'a': aligned = 1; break;
      case 'h': second_handle = 1; break;
      case 'A': demand_all = 1; break;
      default: exit(2);
    }
  if (optind != argc - 1) exit(2);
  path = argv[optind];
  if (artifact != NULL) name_in_artifact = path + strlen(artifact) + 1;
}

int main(int argc, char **argv) {
  options(argc, argv);
  printf("seed %u\n", seed);
  state = seed * 2654435761u + 1;
  image = calloc(1, (size_t)largest + PAGE);
  void *memory = NULL;
  if (posix_memalign(&memory, PAGE, (size_t)largest + PAGE) != 0) die("memory");
  scratch = memory;
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) die("create %s", path);
  close(fd);
  if (pipe(pipes) != 0) die("pipe");
  char temporary[] = "/tmp/fsx-XXXXXX";
  if ((scratch_file = mkstemp(temporary)) < 0 || unlink(temporary) != 0) die("temporary file");
  open_all();
  int weights = choose_operations();
  for (number = 0; number < operations; number++) {
    long at = pick(weights);
    int kind = 0;
    for (;; kind++)
      if (table[kind].is_offered && (at -= table[kind].weight) < 0) break;
    note("nothing to do");
    table[kind].run();
    check_size();
    if (number % 100 == 99) {
      if ((fd = open(path, O_RDONLY)) < 0) die("open");
      check_all(fd, "whole file");
      close(fd);
    }
    if (artifact != NULL && number % commit_every == commit_every - 1) do_commit();
  }
  close_all();
  if ((fd = open(path, O_RDONLY)) < 0) die("open");
  check_all(fd, "whole file at the end");
  check_versions();
  printf("%ld operations, %d versions\n", operations, version_count);
  return 0;
}

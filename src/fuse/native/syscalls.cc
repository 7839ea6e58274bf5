#include "syscalls.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

namespace {

class SyscallWorker : public Napi::AsyncWorker {
 public:
  SyscallWorker(Napi::Env env, std::function<int()> call)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), call_(std::move(call)) {}

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override { result_ = call_() == 0 ? 0 : -errno; }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  Napi::Promise::Deferred deferred_;
  const std::function<int()> call_;
  int result_ = 0;
};

Napi::Value Run(Napi::Env env, std::function<int()> call) {
  auto* worker = new SyscallWorker(env, std::move(call));  // deletes itself when done
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}

std::string Text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

struct Alone {
  const std::function<int()>* call;
  int failure;
};

void* CallAlone(void* argument) {
  auto* alone = static_cast<Alone*>(argument);
#ifdef SYS_close_range
  constexpr unsigned kUnshare = 1U << 1;  // CLOSE_RANGE_UNSHARE, which old headers do not have
  syscall(SYS_close_range, 0U, ~0U, kUnshare);
#endif
  if ((*alone->call)() != 0) alone->failure = errno;
  return nullptr;
}

// For what may wait for an answer of ours. The kernel does not let a thread die that does, and gives the answer up when the last
// descriptor of /dev/fuse is closed: a thread that held it would keep a killed daemon, and all who use its mount, for
// ever. This one has a table of descriptors of its own, with nothing in it. (Before Linux 5.9 it holds them.)
Napi::Value RunAlone(Napi::Env env, std::function<int()> call) {
  return Run(env, [call = std::move(call)] {
    Alone alone = {&call, 0};
    pthread_t thread;
    const int failure = pthread_create(&thread, nullptr, CallAlone, &alone);
    if (failure == 0) pthread_join(thread, nullptr);
    errno = failure != 0 ? failure : alone.failure;
    return errno == 0 ? 0 : -1;
  });
}

int SyncPath(const char* path) {
  const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = fsync(fd);
  const int failure = errno;
  close(fd);
  errno = failure;
  return result;
}

}  // namespace

Napi::Value Mount(const Napi::CallbackInfo& info) {
  const std::string source = Text(info[0]);
  const std::string target = Text(info[1]);
  const std::string type = Text(info[2]);
  const unsigned long flags = info[3].As<Napi::Number>().Uint32Value();
  const std::string data = Text(info[4]);
  return Run(info.Env(), [=] {
    return mount(source.c_str(), target.c_str(), type.c_str(), flags, data.c_str());
  });
}

Napi::Value Unmount(const Napi::CallbackInfo& info) {
  const std::string target = Text(info[0]);
  const int flags = info[1].As<Napi::Number>().Int32Value();
  return RunAlone(info.Env(), [=] { return umount2(target.c_str(), flags); });
}

Napi::Value SyncFile(const Napi::CallbackInfo& info) {
  const std::string path = Text(info[0]);
  return RunAlone(info.Env(), [=] { return SyncPath(path.c_str()); });
}

Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Napi::Number::New(env, -errno);
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(uint32_t{0}, Napi::Number::New(env, ends[0]));
  pair.Set(uint32_t{1}, Napi::Number::New(env, ends[1]));
  return pair;
}

Napi::Value ReceiveDescriptor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int socket = info[0].As<Napi::Number>().Int32Value();
  char byte;
  struct iovec piece = {&byte, 1};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Napi::Number::New(env, -errno);
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return Napi::Number::New(env, -EBADMSG);
  }
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return Napi::Number::New(env, fd);
}

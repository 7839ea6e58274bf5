#include "syscalls.h"

#include <sys/mount.h>
#include <sys/socket.h>
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
  return Run(info.Env(), [=] { return umount2(target.c_str(), flags); });
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

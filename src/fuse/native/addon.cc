#include <napi.h>

#include "block-write.h"
#include "channel.h"
#include "file-calls.h"
#include "syscalls.h"

// Everything JavaScript can call, on one page.
static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Channel", Channel::Define(env));
  exports.Set("mount", Napi::Function::New<Mount>(env, "mount"));
  exports.Set("unmount", Napi::Function::New<Unmount>(env, "unmount"));
  exports.Set("syncFile", Napi::Function::New<SyncFile>(env, "syncFile"));
  exports.Set("socketPair", Napi::Function::New<SocketPair>(env, "socketPair"));
  exports.Set("receiveDescriptor", Napi::Function::New<ReceiveDescriptor>(env, "receiveDescriptor"));
  exports.Set("alignedStart", Napi::Function::New<AlignedStart>(env, "alignedStart"));
  exports.Set("writeBlocks", Napi::Function::New<WriteBlocks>(env, "writeBlocks"));
  exports.Set("writeFollowing", Napi::Function::New<WriteFollowing>(env, "writeFollowing"));
  exports.Set("listXattrs", Napi::Function::New<ListXattrs>(env, "listXattrs"));
  exports.Set("getXattr", Napi::Function::New<GetXattr>(env, "getXattr"));
  exports.Set("setXattr", Napi::Function::New<SetXattr>(env, "setXattr"));
  exports.Set("setTimes", Napi::Function::New<SetTimes>(env, "setTimes"));
  exports.Set("makeNode", Napi::Function::New<MakeNode>(env, "makeNode"));
  return exports;
}

NODE_API_MODULE(artifactfs, Init)

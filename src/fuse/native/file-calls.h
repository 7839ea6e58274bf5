#pragma once

#include <napi.h>

// System calls on local files that Node does not have, for who copies files with all that they are. They follow no
// symlink, run at once, and answer what they found, 0, or -errno; none throws.

// listXattrs(path: string): string[] | number
Napi::Value ListXattrs(const Napi::CallbackInfo& info);

// getXattr(path: string, name: string): Buffer | number
Napi::Value GetXattr(const Napi::CallbackInfo& info);

// setXattr(path: string, name: string, value: Buffer): number
Napi::Value SetXattr(const Napi::CallbackInfo& info);

// setTimes(path: string, atimeSeconds: number, atimeNs: number, mtimeSeconds: number, mtimeNs: number): number
Napi::Value SetTimes(const Napi::CallbackInfo& info);

// makeNode(path: string, mode: number, rdev: number): number. `mode` with the bits of the kind.
Napi::Value MakeNode(const Napi::CallbackInfo& info);

{
  "targets": [
    {
      "target_name": "artifactfs",
      "sources": ["addon.cc", "block-write.cc", "channel.cc", "crc32.cc", "descriptor.cc", "file-calls.cc", "file-range.cc", "syscalls.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags_cc": ["-std=c++17", "-O2", "-fno-exceptions", "-Wall", "-Wextra", "-Werror"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "ldflags": ["-Wl,-z,now"]
    }
  ]
}

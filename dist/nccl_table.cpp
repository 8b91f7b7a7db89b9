#include "dist/nccl_table.h"

#include <dlfcn.h>

namespace tsugi {
namespace {

struct Loaded {
  NcclTable table{};
  std::string why;  ///< not empty: there is no NCCL
};

Loaded load_all() {
  Loaded loaded;
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    loaded.why = dlerror();
    library = dlopen("/usr/local/cuda/lib64/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) return loaded;
  loaded.why.clear();
  const auto find = [&]<class F>(const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (function == nullptr && loaded.why.empty()) loaded.why = std::string("libnccl.so.2 has no ") + name;
  };
  NcclTable& table = loaded.table;
  find("ncclGetVersion", table.get_version);
  find("ncclGetUniqueId", table.get_unique_id);
  find("ncclCommInitRankConfig", table.comm_init_rank_config);
  find("ncclCommGetAsyncError", table.comm_get_async_error);
  find("ncclCommFinalize", table.comm_finalize);
  find("ncclCommDestroy", table.comm_destroy);
  find("ncclCommAbort", table.comm_abort);
  find("ncclSend", table.send);
  find("ncclRecv", table.recv);
  find("ncclGroupStart", table.group_start);
  find("ncclGroupEnd", table.group_end);
  find("ncclGetErrorString", table.get_error_string);
  find("ncclGetLastError", table.get_last_error);
  return loaded;
}

}  // namespace

const NcclTable* load_nccl(std::string& why) {
  static const Loaded loaded = load_all();
  why = loaded.why;
  return why.empty() ? &loaded.table : nullptr;
}

}  // namespace tsugi

// NCCL's functions, found at run time: one program also starts on machines that do not have the library, and tests put
// others in their place. The names and types are those of nccl.h (2.18 and later), which is not needed to build.
#pragma once

#include <climits>
#include <cstddef>
#include <string>

namespace tsugi {

/// ncclResult_t, as far as it is told apart.
inline constexpr int kNcclSuccess = 0;
inline constexpr int kNcclInProgress = 7;
/// What ncclGetVersion says of the oldest whose names and types these are.
inline constexpr int kOldestNccl = 21800;
/// ncclDataType_t: all transfers are of bytes.
inline constexpr int kNcclInt8 = 0;

/// ncclUniqueId.
struct NcclId {
  char internal[128];
};

/// The beginning of ncclConfig_t; `size` says where it ends.
struct NcclConfig {
  size_t size = offsetof(NcclConfig, split_share) + sizeof(int);
  unsigned magic = 0xcafebeef;
  unsigned version = kOldestNccl;
  int blocking = 0;
  int cga_cluster_size = INT_MIN;  // INT_MIN: NCCL's own choice
  int min_ctas = INT_MIN;
  int max_ctas = INT_MIN;
  const char* net_name = nullptr;
  int split_share = INT_MIN;
};

struct NcclTable {
  int (*get_version)(int* version);
  int (*get_unique_id)(NcclId* id);
  int (*comm_init_rank_config)(void** comm, int ranks, NcclId id, int rank, NcclConfig* config);
  int (*comm_get_async_error)(void* comm, int* error);
  int (*comm_finalize)(void* comm);
  int (*comm_destroy)(void* comm);
  int (*comm_abort)(void* comm);
  int (*send)(const void* data, size_t count, int type, int peer, void* comm, void* stream);
  int (*recv)(void* data, size_t count, int type, int peer, void* comm, void* stream);
  int (*group_start)();
  int (*group_end)();
  const char* (*get_error_string)(int result);
  const char* (*get_last_error)(void* comm);
};

/// The functions of libnccl.so.2; null with the reason in `why` when it is not there or too old. Loads it once.
const NcclTable* load_nccl(std::string& why);

}  // namespace tsugi

// dist/nccl_table.h says what nccl.h says. Compiled where there is a nccl.h.
#include "dist/nccl_table.h"

#if __has_include(<nccl.h>)
#include <nccl.h>

namespace {

using tsugi::NcclConfig;
using tsugi::NcclTable;

static_assert(tsugi::kNcclSuccess == ncclSuccess && tsugi::kNcclInProgress == ncclInProgress);
static_assert(tsugi::kNcclInt8 == ncclInt8 && sizeof(tsugi::NcclId) == sizeof(ncclUniqueId));
static_assert(offsetof(NcclConfig, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(offsetof(NcclConfig, net_name) == offsetof(ncclConfig_t, netName));
static_assert(offsetof(NcclConfig, split_share) == offsetof(ncclConfig_t, splitShare));
static_assert(NCCL_CONFIG_UNDEF_INT == INT_MIN && sizeof(ncclResult_t) == sizeof(int));

// The same signatures, but for handles and enumerations.
[[maybe_unused]] ncclResult_t (*const init)(ncclComm_t*, int, ncclUniqueId, int,
                                            ncclConfig_t*) = ncclCommInitRankConfig;
[[maybe_unused]] ncclResult_t (*const send)(const void*, size_t, ncclDataType_t, int, ncclComm_t,
                                            cudaStream_t) = ncclSend;
[[maybe_unused]] ncclResult_t (*const recv)(void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t) = ncclRecv;
[[maybe_unused]] ncclResult_t (*const error)(ncclComm_t, ncclResult_t*) = ncclCommGetAsyncError;

}  // namespace
#endif

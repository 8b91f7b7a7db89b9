#include <string>

#include "ops/base/error.h"
#include "ops/cuda/runtime.h"
#include "ops/cuda/tensor_map.h"

namespace tsugi::cuda {
namespace {

/// Through the runtime, so that nothing links libcuda, which machines without a device lack.
decltype(&cuTensorMapEncodeTiled) find_encoder() {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found),
        "cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess) {
    throw Error(ExitCode::kUsage, "CUDA: the driver has no cuTensorMapEncodeTiled", "it needs CUDA 12.0 or later");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
}

}  // namespace

dev::TensorMap make_tensor_map(const TensorMapOptions& options) {
  static const auto encode = find_encoder();
  cuuint64_t extents[4], strides[3];
  cuuint32_t box[4], element_strides[4] = {1, 1, 1, 1};
  for (int i = 0; i < 4; ++i) {
    extents[i] = static_cast<cuuint64_t>(options.extents[i]);
    box[i] = static_cast<cuuint32_t>(options.box[i]);
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(options.strides[i]) * sizeof(uint16_t);
  }
  dev::TensorMap map;
  const CUresult status = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(options.base), extents,
                                 strides, box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 options.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(ExitCode::kInternal, "CUDA: a tensor map is refused, status " + std::to_string(status));
  }
  return map;
}

}  // namespace tsugi::cuda

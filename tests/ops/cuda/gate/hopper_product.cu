// Compiled by the gate, so that the PTX of the sm_90a layer is seen by ptxas.
#include "tests/ops/cuda/gate/hopper_product.cuh"

namespace tsugi::testing {
template __global__ void multiply<false, Omit::kNothing>(TSUGI_GRID_CONSTANT dev::TensorMap,
                                                         TSUGI_GRID_CONSTANT dev::TensorMap,
                                                         TSUGI_GRID_CONSTANT dev::TensorMap, int);
template __global__ void multiply<true, Omit::kNothing>(TSUGI_GRID_CONSTANT dev::TensorMap,
                                                        TSUGI_GRID_CONSTANT dev::TensorMap,
                                                        TSUGI_GRID_CONSTANT dev::TensorMap, int);
template __global__ void multiply<true, Omit::kNothing, true>(TSUGI_GRID_CONSTANT dev::TensorMap,
                                                              TSUGI_GRID_CONSTANT dev::TensorMap,
                                                              TSUGI_GRID_CONSTANT dev::TensorMap, int);
}  // namespace tsugi::testing

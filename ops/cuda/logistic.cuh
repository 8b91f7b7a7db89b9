// log(1 + eˣ) and 1/(1 + e⁻ˣ), exact where x is far from 0 on either side.
#pragma once

#include "ops/cuda/device.cuh"

namespace tsugi::cuda {

/// log(1 + eˣ).
TSUGI_DEVICE double softplus(double x) { return (x > 0.0 ? x : 0.0) + dev::log1p(dev::exp(x > 0.0 ? -x : x)); }

/// 1/(1 + e⁻ˣ), in the type of x.
template <class T>
TSUGI_DEVICE T logistic(T x) {
  const T e = dev::exp(x > T{0} ? -x : x);
  return (x > T{0} ? T{1} : e) / (T{1} + e);
}

}  // namespace tsugi::cuda

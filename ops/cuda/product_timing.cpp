#include <algorithm>
#include <limits>

#include "ops/cuda/product_table.h"
#include "ops/cuda/timer.h"

namespace tsugi::cuda {
namespace {

constexpr int kRuns = 5;
constexpr unsigned char kByte = 0x3c;  // bf16 and f32 numbers near 0.01: zeros would cost less power

Buffer filled(Stream& stream, int64_t count, DType type) {
  Buffer buffer(static_cast<size_t>(std::max<int64_t>(count, 1)) * size_of(type));
  stream.fill(buffer.data(), kByte, buffer.bytes());
  return buffer;
}

}  // namespace

std::vector<double> time_algorithms(Stream& stream, const ProductShape& s,
                                    std::span<const ProductAlgorithm> algorithms) {
  const Buffer a = filled(stream, s.m * s.k, s.type);
  const Buffer b = filled(stream, s.k * s.n, s.type);
  const Buffer bias = filled(stream, s.n, s.out_type);
  const Buffer out = filled(stream, s.m * s.n, s.out_type);
  const Buffer pre_activation = filled(stream, s.gelu || s.gelu_backward ? s.m * s.n : 0, s.out_type);
  // Writing it empties the cache, and takes the host's launches off the critical path.
  const Buffer scrub(4 * cache_bytes());
  const Gemm product{.m = s.m,
                     .n = s.n,
                     .k = s.k,
                     .type = s.type,
                     .out_type = s.out_type,
                     .transpose_a = s.transpose_a,
                     .transpose_b = s.transpose_b,
                     .accumulate = s.accumulate,
                     .a = a.data(),
                     .b = b.data(),
                     .bias = s.bias ? bias.data() : nullptr,
                     .pre_activation = s.gelu ? pre_activation.data() : nullptr,
                     .gelu_backward = s.gelu_backward ? pre_activation.data() : nullptr,
                     .out = out.data()};
  std::vector<std::vector<double>> seconds(algorithms.size());
  Timer timer;
  for (int run = 0; run <= kRuns; ++run) {  // the first loads code
    for (size_t i = 0; i < algorithms.size(); ++i) {
      if (!is_usable(s, algorithms[i])) continue;
      stream.fill(scrub.data(), static_cast<unsigned char>(run), scrub.bytes());
      timer.start(stream);
      gemm(stream, product, &algorithms[i]);
      timer.stop(stream);
      stream.synchronize();
      if (run > 0) seconds[i].push_back(timer.seconds());
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& of_one : seconds) {
    std::sort(of_one.begin(), of_one.end());
    medians.push_back(of_one.empty() ? std::numeric_limits<double>::infinity() : of_one[of_one.size() / 2]);
  }
  return medians;
}

}  // namespace tsugi::cuda

#include "benchmarks/kernels/runs.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cuda/timer.h"

namespace tsugi::benchmarks {
namespace {

constexpr size_t kComparedBytes = size_t{64} << 20;
constexpr size_t kParts = 16;
constexpr int kWhole = 3;

double element(const std::byte* data, size_t i, DType type) {
  if (type == DType::kBF16) {
    bf16 value;
    std::memcpy(&value, data + i * sizeof(value), sizeof(value));
    return static_cast<double>(static_cast<float>(value));
  }
  float value;
  std::memcpy(&value, data + i * sizeof(value), sizeof(value));
  return static_cast<double>(value);
}

}  // namespace

Times measure(cuda::Stream& stream, const Work& work, const cuda::Buffer& scrub, int repeats) {
  cuda::Timer timer;
  std::vector<double> seconds;
  for (int i = 0; i < repeats + 2; ++i) {
    stream.fill(scrub.data(), static_cast<unsigned char>(i), scrub.bytes());
    timer.start(stream);
    work.run(stream);
    timer.stop(stream);
    stream.synchronize();
    if (i >= 2) seconds.push_back(timer.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
}

Outcome run_again(cuda::Stream& stream, const Work& work, int runs) {
  Outcome outcome;
  std::vector<std::byte> now(kComparedBytes);
  for (int run = 0; run < runs; ++run) {
    if (work.reset) work.reset(stream);
    work.run(stream);
    for (size_t r = 0; r < work.results.size(); ++r) {
      const auto& [data, bytes, type] = work.results[r];
      const size_t all = std::min(bytes, kComparedBytes);
      if (run == 0) {
        outcome.results.emplace_back(all);
        stream.copy(outcome.results[r].data(), data, all);
        stream.synchronize();
        continue;
      }
      const size_t part = run < kWhole ? 0 : static_cast<size_t>(run) % kParts, parts = run < kWhole ? 1 : kParts;
      const size_t begin = all * part / parts, end = all * (part + 1) / parts;
      stream.copy(now.data(), static_cast<const std::byte*>(data) + begin, end - begin);
      stream.synchronize();
      if (std::memcmp(now.data(), outcome.results[r].data() + begin, end - begin) != 0) outcome.same_bits = false;
    }
  }
  return outcome;
}

double difference(const Work& work, const Outcome& a, const Outcome& b) {
  double far = 0.0, size = 0.0;
  for (size_t r = 0; r < work.results.size(); ++r) {
    const DType type = work.results[r].type;
    for (size_t i = 0; i < a.results[r].size() / size_of(type); ++i) {
      const double x = element(a.results[r].data(), i, type), y = element(b.results[r].data(), i, type);
      if (x == y && std::isinf(y)) continue;
      far += (x - y) * (x - y);
      size += y * y;
    }
  }
  return far == 0.0 ? 0.0 : std::sqrt(far / size);  // NaN where there is one
}

}  // namespace tsugi::benchmarks

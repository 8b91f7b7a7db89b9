#include <algorithm>
#include <cmath>

#include "benchmarks/kernels/cases.h"
#include "ops/tensor/philox.h"

namespace tsugi::benchmarks {
namespace {

constexpr size_t kNumbers = size_t{1} << 18;

}  // namespace

Maker::Maker(cuda::Stream& stream)
    : stream_(stream),
      f32_(std::make_shared<cuda::Buffer>(kNumbers * sizeof(float))),
      bf16_(std::make_shared<cuda::Buffer>(kNumbers * sizeof(bf16))) {
  static const std::vector<float> numbers = [] {
    std::vector<float> values(kNumbers);
    const RandomStream random{1, 0, 0};
    for (size_t i = 0; i < kNumbers; ++i) {
      const Philox4 words = random.block(static_cast<uint32_t>(i));
      float sum = -2.0f;
      for (const uint32_t word : words) sum += static_cast<float>(uniform_open(word));
      values[i] = sum * std::sqrt(3.0f);
    }
    return values;
  }();
  static const std::vector<bf16> rounded = [] {
    std::vector<bf16> values;
    for (const float value : numbers) values.push_back(bf16(value));
    return values;
  }();
  stream.copy(f32_->data(), numbers.data(), f32_->bytes());
  stream.copy(bf16_->data(), rounded.data(), bf16_->bytes());
  stream.synchronize();
}

void* Maker::allocate(size_t bytes) {
  work.buffers.push_back(std::make_shared<cuda::Buffer>(std::max(bytes, size_t{16})));
  return work.buffers.back()->data();
}

void* Maker::empty(int64_t count, DType type) { return allocate(static_cast<size_t>(count) * size_of(type)); }

void* Maker::random(int64_t count, DType type) {
  void* const data = empty(count, type);
  randomize(stream_, data, count, type);
  return data;
}

void* Maker::zeros(int64_t count, DType type) {
  void* const data = empty(count, type);
  stream_.fill(data, 0, static_cast<size_t>(count) * size_of(type));
  return data;
}

int32_t* Maker::integers(int64_t count, int64_t limit) {
  std::vector<int32_t> values;
  const RandomStream random{2, 0, 0};
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<int32_t>(random.word(static_cast<uint64_t>(i)) % static_cast<uint64_t>(limit)));
  }
  return upload(values);
}

void Maker::randomize(cuda::Stream& stream, void* data, int64_t count, DType type) const {
  const cuda::Buffer& from = type == DType::kF32 ? *f32_ : *bf16_;
  const size_t bytes = static_cast<size_t>(count) * size_of(type);
  for (size_t at = 0; at < bytes; at += from.bytes()) {
    stream.copy(static_cast<std::byte*>(data) + at, from.data(), std::min(from.bytes(), bytes - at));
  }
}

void Maker::result(const void* data, int64_t count, DType type) {
  work.results.push_back({data, static_cast<size_t>(count) * size_of(type), type});
}

}  // namespace tsugi::benchmarks

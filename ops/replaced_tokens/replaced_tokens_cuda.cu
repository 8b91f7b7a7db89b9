#include "ops/cuda/device.cuh"
#include "ops/replaced_tokens/replaced_tokens_cuda.h"
#include "ops/tensor/philox.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int32_t kIgnored = -1;

struct RowShared {
  dev::BlockScratch<float> scratch;
};

TSUGI_KERNEL(kThreads, 2)
draw(DeviceTokenDraw key, const float* scores, int64_t columns, int64_t vocabulary, int32_t* drawn) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = key.first_row + dev::block_index().x;
  const RandomStream stream{key.seed, key.first_sample + static_cast<uint64_t>(row / key.rows_per_sample), key.site};
  const auto first = static_cast<uint64_t>(row % key.rows_per_sample) * static_cast<uint64_t>(columns / 4);
  const float* const x = scores + dev::block_index().x * columns;
  float best = -__builtin_huge_valf();
  int64_t token = kMostDrawn;  // none
  for (int64_t block = dev::thread_index(); 4 * block < vocabulary; block += kThreads) {
    const Philox4 words = stream.block(static_cast<uint32_t>(first + static_cast<uint64_t>(block)));
    TSUGI_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int64_t v = 4 * block + j;
      if (v >= vocabulary) continue;
      const auto uniform = static_cast<double>(uniform_open(words[j]));
      const float noisy = dev::load(x + v) - static_cast<float>(dev::log(-dev::log(uniform)));
      if (!(noisy > best)) continue;
      best = noisy;
      token = v;
    }
  }
  const float largest = dev::block_max(best, s.scratch);
  const auto index = static_cast<float>(best == largest ? token : kMostDrawn);
  const float lowest = -dev::block_max(-index, s.scratch);
  if (dev::thread_index() != 0) return;
  const auto result = static_cast<int64_t>(lowest);
  dev::store(drawn + dev::block_index().x, static_cast<int32_t>(result < vocabulary ? result : 0));
}

TSUGI_KERNEL(kThreads, 4)
replace(DeviceHiddenTokens hidden, const int32_t* drawn, int32_t* replaced, int32_t* answers) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int64_t begin = row * hidden.length;
  const int64_t first = row * hidden.room;
  float any = 0.0f;  // 1: a token is hidden
  for (int64_t i = dev::thread_index(); i < hidden.room; i += kThreads) {
    if (dev::load(hidden.originals + first + i) != kIgnored) any = 1.0f;
  }
  const bool empty = dev::block_max(any, s.scratch) == 0.0f;
  for (int64_t t = dev::thread_index(); t < hidden.length; t += kThreads) {
    bool padding = empty;
    if (hidden.end_key != nullptr) {
      const int64_t end = dev::load(hidden.end_key + begin + (hidden.first_key != nullptr ? t : 0));
      padding = padding ||
                (hidden.first_key == nullptr ? t >= end : end == t + 1 && dev::load(hidden.first_key + begin + t) == t);
    }
    dev::store(replaced + begin + t, dev::load(hidden.tokens + begin + t));
    dev::store(answers + begin + t, padding ? kIgnored : 0);
  }
  dev::sync_threads();  // what is replaced comes after what was there
  for (int64_t i = dev::thread_index(); i < hidden.room; i += kThreads) {
    const int32_t original = dev::load(hidden.originals + first + i);
    if (original == kIgnored) continue;
    const int64_t place = dev::load(hidden.positions + first + i);
    const int32_t token = dev::load(drawn + first + i);
    dev::store(replaced + place, token);
    dev::store(answers + place, token == original ? 0 : 1);
  }
}

}  // namespace

void draw_rows(Stream& stream, const DeviceTokenDraw& key, const float* scores, int64_t rows, int64_t columns,
               int64_t vocabulary, int32_t* drawn) {
  if (rows == 0) return;
  launch(stream, draw, {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, key, scores, columns,
         vocabulary, drawn);
}

void replace_tokens(Stream& stream, const DeviceHiddenTokens& hidden, const int32_t* drawn, int32_t* replaced,
                    int32_t* answers) {
  if (hidden.rows == 0) return;
  launch(stream, replace, {{static_cast<unsigned>(hidden.rows), 1, 1}, kThreads, sizeof(RowShared)}, hidden, drawn,
         replaced, answers);
}

}  // namespace tsugi::cuda

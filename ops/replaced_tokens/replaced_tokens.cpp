#include "ops/replaced_tokens/replaced_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/tensor/device_objectives.h"

namespace tsugi {
namespace {

bool is_padding(const HiddenTokens& hidden, int64_t row, int64_t t) {
  if (!hidden.end_key.defined()) return false;
  const int64_t length = hidden.tokens.shape()[1];
  const int32_t* const end = hidden.end_key.data<int32_t>() + row * length;
  if (!hidden.first_key.defined()) return t >= end[0];
  // A token that sees itself alone; a document of one token is passed over like padding.
  return end[t] == t + 1 && hidden.first_key.data<int32_t>()[row * length + t] == t;
}

}  // namespace

void draw_rows(const Context& context, const Tensor& scores, int64_t vocabulary, const TokenDraw& draw,
               int64_t first_row, const Tensor& drawn) {
  CHECK(scores.dtype() == DType::kF32 && vocabulary >= 1 && vocabulary <= scores.shape()[1]);
  CHECK(drawn.elements() == scores.shape()[0] && drawn.dtype() == DType::kI32);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().draw_rows(context, scores, vocabulary, draw, first_row, drawn);
  }
  if (context.meta()) return;
  const int64_t columns = scores.shape()[1];
  context.pool().for_each(scores.shape()[0], [&](int64_t i, int) {
    const int64_t row = first_row + i;
    const RandomStream stream{draw.seed, draw.first_sample + static_cast<uint64_t>(row / draw.rows_per_sample),
                              draw.site};
    const auto first = static_cast<uint64_t>(row % draw.rows_per_sample) * static_cast<uint64_t>(columns / 4);
    const float* const x = scores.data<float>() + i * columns;
    float best = -std::numeric_limits<float>::infinity();
    int32_t token = 0;
    Philox4 words{};
    for (int64_t v = 0; v < vocabulary; ++v) {
      if (v % 4 == 0) words = stream.block(static_cast<uint32_t>(first + static_cast<uint64_t>(v / 4)));
      const float noisy = x[v] - std::log(-std::log(uniform_open(words[static_cast<size_t>(v % 4)])));
      if (noisy > best) {
        best = noisy;
        token = static_cast<int32_t>(v);
      }
    }
    drawn.data<int32_t>()[i] = token;
  });
}

void replace_tokens(const Context& context, const HiddenTokens& hidden, const Tensor& drawn, const Tensor& replaced,
                    const Tensor& answers) {
  const int64_t rows = hidden.tokens.shape()[0];
  const int64_t length = hidden.tokens.shape()[1];
  const int64_t room = hidden.positions.elements() / rows;
  CHECK(hidden.originals.elements() == rows * room && drawn.elements() == rows * room);
  CHECK(replaced.shape() == hidden.tokens.shape() && answers.elements() == rows * length);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().replace_tokens(context, hidden, drawn, replaced, answers);
  }
  if (context.meta()) return;
  std::copy_n(hidden.tokens.data<int32_t>(), rows * length, replaced.data<int32_t>());
  int32_t* const told = answers.data<int32_t>();
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t* const originals = hidden.originals.data<int32_t>() + row * room;
    // A row without hidden tokens fills up the last batch of validation.
    const bool empty = std::all_of(originals, originals + room, [](int32_t id) { return id == kIgnoreIndex; });
    for (int64_t t = 0; t < length; ++t) {
      told[row * length + t] = empty || is_padding(hidden, row, t) ? kIgnoreIndex : 0;
    }
    for (int64_t i = 0; i < room; ++i) {
      if (originals[i] == kIgnoreIndex) continue;
      const int32_t place = hidden.positions.data<int32_t>()[row * room + i];
      const int32_t token = drawn.data<int32_t>()[row * room + i];
      replaced.data<int32_t>()[place] = token;
      told[place] = token == originals[i] ? 0 : 1;
    }
  }
}

}  // namespace tsugi

#include "core/checkpoint/state_copy.h"

#include <glog/logging.h>

#include <algorithm>

namespace tsugi {

StateCopy::StateCopy(const Context& context, int64_t elements)
    : context_(context), buffer_(context.empty({kBuffers * elements}, DType::kF32)) {}

std::vector<StateRange> StateCopy::take(const std::vector<StateRange>& ranges) {
  constexpr int64_t kPiece = 1 << 18;
  struct Copy {
    const float* from;
    float* to;
    int64_t count;
  };
  std::vector<Copy> pieces;
  std::vector<StateRange> copies = ranges;
  auto* next = buffer_.data<float>();
  for (StateRange& range : copies) {
    for (float** values : {&range.master, &range.exp_avg, &range.exp_avg_sq}) {
      if (*values == nullptr) continue;
      CHECK_LE(next + range.length, buffer_.data<float>() + buffer_.shape().elements()) << "the copy is too small";
      for (int64_t begin = 0; begin < range.length; begin += kPiece) {
        pieces.push_back({*values + begin, next + begin, std::min(kPiece, range.length - begin)});
      }
      *values = next;
      next += range.length;
    }
  }
  context_.pool().for_each(static_cast<int64_t>(pieces.size()), [&](int64_t index, int) {
    const Copy& piece = pieces[static_cast<size_t>(index)];
    std::copy_n(piece.from, piece.count, piece.to);
  });
  return copies;
}

}  // namespace tsugi

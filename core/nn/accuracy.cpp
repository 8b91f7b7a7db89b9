#include "core/nn/accuracy.h"

#include <algorithm>
#include <numeric>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/tensor/copy.h"
#include "ops/top1/top1.h"

namespace tsugi {

int64_t count_right(const Context& context, const Tensor& rows, const Parameter& weight, const Parameter& bias,
                    const Tensor& targets, int64_t classes) {
  const Tensor table = weight.value();
  const int64_t columns = table.shape()[0];
  const int64_t all = rows.shape()[0];
  const int64_t step = cross_entropy_chunk_rows(all, columns);
  MatmulOptions product{.transpose_b = true};
  if (bias.defined()) product.bias = bias.value();
  const Tensor scores = context.empty({step, columns}, DType::kF32);
  const Tensor right = context.empty({all}, DType::kI32);
  for (int64_t begin = 0; begin < all; begin += step) {
    const int64_t count = std::min(step, all - begin);
    const Tensor some = scores.slice(0, {count, columns});
    matmul(context, rows.slice(begin * rows.shape()[1], {count, rows.shape()[1]}), table, some, product);
    top1(context, some, targets.slice(begin, {count}), classes, right.slice(begin, {count}));
  }
  if (context.meta()) return 0;
  const Tensor rights = on_host(context, right);
  return std::reduce(rights.data<int32_t>(), rights.data<int32_t>() + all, int64_t{0});
}

}  // namespace tsugi

#include "core/scaling/flops.h"

namespace tsugi {

ParameterCount count_parameters(const ModelConfig& model) {
  const int64_t width = model.width();
  const int64_t block = 12 * width * width + 13 * width;  // four matrices, their biases, two norms
  ParameterCount count;
  count.in_products = model.layers() * block + 2 * width + model.vocabulary() * width;
  count.total = count.in_products + model.context() * width;
  return count;
}

FlopsPerToken flops_per_token(const ModelConfig& model, int64_t sequence) {
  const double products = 6.0 * static_cast<double>(count_parameters(model).in_products);
  const double scores = 12.0 * model.layers() * static_cast<double>(model.width()) * static_cast<double>(sequence);
  return {products + scores, products + 0.5 * scores};
}

}  // namespace tsugi

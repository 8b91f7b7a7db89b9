#include "core/downstream/probe.h"

#include <nlopt.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>

#include "core/data/images/augment.h"
#include "core/downstream/few_labels.h"
#include "ops/matmul/matmul.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr int kMostEvaluations = 5000;
constexpr int64_t kQueryRows = 256;

/// What L-BFGS asks for: the objective and its gradient at weights and biases, one after the other.
struct RegressionProblem {
  const FeatureTable* table;
  int64_t classes;
  double strength;

  static double evaluate(unsigned /*count*/, const double* x, double* gradient, void* self) {
    return static_cast<const RegressionProblem*>(self)->at(x, gradient);
  }

  double at(const double* x, double* gradient) const {
    const int64_t width = table->width;
    const double* const biases = x + classes * width;
    double value = 0.0;
    for (int64_t i = 0; i < classes * width; ++i) value += x[i] * x[i] / (2.0 * strength);
    if (gradient != nullptr) {
      for (int64_t i = 0; i < classes * width; ++i) gradient[i] = x[i] / strength;
      std::fill_n(gradient + classes * width, classes, 0.0);
    }
    std::vector<double> scores(static_cast<size_t>(classes));
    for (int64_t row = 0; row < table->rows(); ++row) {
      const float* const features = table->values.data() + row * width;
      const auto label = static_cast<size_t>(table->labels[static_cast<size_t>(row)]);
      for (int64_t k = 0; k < classes; ++k) {
        double score = biases[k];
        for (int64_t c = 0; c < width; ++c) score += x[k * width + c] * static_cast<double>(features[c]);
        scores[static_cast<size_t>(k)] = score;
      }
      const double top = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (const double score : scores) sum += std::exp(score - top);
      value += std::log(sum) + top - scores[label];
      if (gradient == nullptr) continue;
      for (int64_t k = 0; k < classes; ++k) {
        const bool right = static_cast<size_t>(k) == label;
        const double slope = std::exp(scores[static_cast<size_t>(k)] - top) / sum - (right ? 1.0 : 0.0);
        for (int64_t c = 0; c < width; ++c) gradient[k * width + c] += slope * static_cast<double>(features[c]);
        gradient[classes * width + k] += slope;
      }
    }
    return value;
  }
};

}  // namespace

FeatureTable image_features(const Context& context, const Transformer& model, const ImageSet& images, int64_t rows) {
  const ModelConfig& config = model.config();
  const int64_t patch = config.patch_size();
  const int64_t elements = images.channels * patch * patch;
  FeatureTable table;
  table.width = config.width();
  table.labels = images.labels;
  for (int64_t begin = 0; begin < images.count(); begin += rows) {
    const int64_t count = std::min(rows, images.count() - begin);
    const Tensor patches = host_tensor({count, int64_t{config.context()} - 1, elements}, DType::kF32);
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<float> planes = augment_image(images.image(begin + i), images.height, images.width,
                                                      images.channels, config.image_size(), {}, {});
      write_patches(planes, images.channels, config.image_size(), patch,
                    patches.data<float>() + i * patches.shape()[1] * elements);
    }
    Tape tape(context, false);
    const Tensor pooled = floats_on_host(
        context, model.pooled(tape, model.hidden_of_images(tape, on_device(context, patches), {})).value);
    table.values.insert(table.values.end(), pooled.data<float>(), pooled.data<float>() + pooled.elements());
  }
  return table;
}

FeatureTable rows_per_class(const FeatureTable& table, int64_t count) {
  FeatureTable some{table.width, {}, {}};
  for (const int64_t row : first_of_each_label(table.labels, count)) {
    const float* const from = table.values.data() + row * table.width;
    some.values.insert(some.values.end(), from, from + table.width);
    some.labels.push_back(table.labels[static_cast<size_t>(row)]);
  }
  return some;
}

LogisticRegression LogisticRegression::fit(const FeatureTable& table, int64_t classes, double strength) {
  RegressionProblem problem{&table, classes, strength};
  const auto size = static_cast<size_t>(classes * (table.width + 1));
  std::vector<double> x(size, 0.0);
  const std::unique_ptr<nlopt_opt_s, void (*)(nlopt_opt)> optimizer(
      nlopt_create(NLOPT_LD_LBFGS, static_cast<unsigned>(size)), nlopt_destroy);
  CHECK(optimizer != nullptr);
  nlopt_set_min_objective(optimizer.get(), &RegressionProblem::evaluate, &problem);
  nlopt_set_ftol_rel(optimizer.get(), 1e-12);
  nlopt_set_maxeval(optimizer.get(), kMostEvaluations);
  LogisticRegression result;
  // A failure of rounding at the minimum is the minimum.
  const nlopt_result status = nlopt_optimize(optimizer.get(), x.data(), &result.objective);
  CHECK(status > 0 || status == NLOPT_ROUNDOFF_LIMITED || status == NLOPT_FAILURE) << status;
  result.width = table.width;
  result.classes = classes;
  result.weights.assign(x.begin(), x.begin() + classes * table.width);
  result.biases.assign(x.begin() + classes * table.width, x.end());
  result.objective = problem.at(x.data(), nullptr);
  return result;
}

double LogisticRegression::accuracy(const FeatureTable& table) const {
  int64_t right = 0;
  for (int64_t row = 0; row < table.rows(); ++row) {
    const float* const features = table.values.data() + row * width;
    int64_t best = 0;
    double best_score = 0.0;
    for (int64_t k = 0; k < classes; ++k) {
      double score = biases[static_cast<size_t>(k)];
      for (int64_t c = 0; c < width; ++c) {
        score += weights[static_cast<size_t>(k * width + c)] * static_cast<double>(features[c]);
      }
      if (k == 0 || score > best_score) {
        best = k;
        best_score = score;
      }
    }
    right += best == table.labels[static_cast<size_t>(row)];
  }
  return static_cast<double>(right) / static_cast<double>(table.rows());
}

double linear_probe(FeatureTable train, FeatureTable test, int64_t classes) {
  const auto rows = static_cast<double>(train.rows());
  for (int64_t c = 0; c < train.width; ++c) {
    double mean = 0.0;
    double squares = 0.0;
    for (int64_t row = 0; row < train.rows(); ++row) mean += static_cast<double>(train.values[row * train.width + c]);
    mean /= rows;
    for (int64_t row = 0; row < train.rows(); ++row) {
      squares += std::pow(static_cast<double>(train.values[row * train.width + c]) - mean, 2);
    }
    const double scale = squares > 0.0 ? 1.0 / std::sqrt(squares / rows) : 0.0;
    for (FeatureTable* table : {&train, &test}) {
      for (int64_t row = 0; row < table->rows(); ++row) {
        float& value = table->values[row * table->width + c];
        value = static_cast<float>((static_cast<double>(value) - mean) * scale);
      }
    }
  }
  return LogisticRegression::fit(train, classes).accuracy(test);
}

double nearest_neighbours(const Context& context, const FeatureTable& train, const FeatureTable& test,
                          int64_t neighbours) {
  const int64_t rows = train.rows();
  const int64_t nearest = std::min(neighbours, rows);
  const auto unit = [&](const FeatureTable& table) {
    const Tensor x = Tensor::view(const_cast<float*>(table.values.data()), {table.rows(), table.width}, DType::kF32);
    const Tensor out = context.empty(x.shape(), DType::kF32);
    normalize_rows(context, x, out, context.empty({table.rows()}, DType::kF64));
    return out;
  };
  const Tensor keys = unit(train);
  const Tensor queries = unit(test);
  int64_t right = 0;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t begin = 0; begin < test.rows(); begin += kQueryRows) {
    const int64_t count = std::min(kQueryRows, test.rows() - begin);
    const Tensor scores = context.empty({count, rows}, DType::kF32);
    matmul(context, queries.slice(begin * test.width, {count, test.width}), keys, scores, {.transpose_b = true});
    for (int64_t i = 0; i < count; ++i) {
      const float* const row = scores.data<float>() + i * rows;
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + nearest, order.end(),
                        [row](int64_t a, int64_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
      std::map<int32_t, int64_t> votes;
      for (int64_t k = 0; k < nearest; ++k) ++votes[train.labels[static_cast<size_t>(order[static_cast<size_t>(k)])]];
      const auto winner = std::max_element(votes.begin(), votes.end(),
                                           [](const auto& a, const auto& b) { return a.second < b.second; });
      right += winner->first == test.labels[static_cast<size_t>(begin + i)];
    }
  }
  return static_cast<double>(right) / static_cast<double>(test.rows());
}

}  // namespace tsugi

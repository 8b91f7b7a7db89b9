// What features are worth: how well simple classifiers read the classes off them, while the model stays as it is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data/images/image_set.h"
#include "core/model/transformer.h"

namespace tsugi {

/// Features of labelled examples.
struct FeatureTable {
  int64_t width = 0;
  std::vector<float> values;    ///< [rows, width]
  std::vector<int32_t> labels;  ///< [rows], or empty
  int64_t rows() const { return width == 0 ? 0 : static_cast<int64_t>(values.size()) / width; }
};

/// What the model makes of each picture as it is: its pooled output, before any head. `rows` pictures at a time.
FeatureTable image_features(const Context& context, const Transformer& model, const ImageSet& images, int64_t rows);

/// The first `count` rows of every class, in order; 0: all.
FeatureTable rows_per_class(const FeatureTable& table, int64_t count);

/// Multinomial logistic regression in double: minimises Σ of the cross-entropies + |W|² / (2·strength), biases free, by
/// L-BFGS (scikit-learn's LogisticRegression with C = strength).
struct LogisticRegression {
  int64_t width = 0;
  int64_t classes = 0;
  std::vector<double> weights;  ///< [classes, width]
  std::vector<double> biases;   ///< [classes]
  double objective = 0.0;       ///< the minimum

  static LogisticRegression fit(const FeatureTable& table, int64_t classes, double strength = 1.0);
  double accuracy(const FeatureTable& table) const;
};

/// The share of right answers of a linear probe: the columns of both tables are brought to mean 0 and deviation 1 by
/// those of `train`, then logistic regression.
double linear_probe(FeatureTable train, FeatureTable test, int64_t classes);

/// The share of right answers of the majority among the `neighbours` rows of `train` with the largest cosine (the lower
/// label among equals).
double nearest_neighbours(const Context& context, const FeatureTable& train, const FeatureTable& test,
                          int64_t neighbours);

}  // namespace tsugi

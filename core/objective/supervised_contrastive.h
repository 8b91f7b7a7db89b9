// Supervised contrastive learning (Khosla et al. 2020): a view finds all views of its class in the global batch. Then
// the classes are learnt by a probe or by fine-tuning, as after any other objective.
#pragma once

#include "core/objective/two_views.h"
#include "core/objective/view_losses.h"

namespace tsugi {

class SupervisedContrastiveObjective : public TwoViews {
 public:
  /// Throws Error(kData) for pictures without labels, or all of one class.
  SupervisedContrastiveObjective(ImageBatches batches, const SupervisedContrastive& config)
      : TwoViews(std::move(batches), config.projection_width()), temperature_(config.temperature()) {
    this->batches().require_labels("supervised_contrastive", 2);
  }

  const char* name() const override { return "supervised_contrastive"; }

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override {
    return supervised_contrastive(context, communicator, features, numbers, temperature_);
  }

 private:
  float temperature_;
};

}  // namespace tsugi

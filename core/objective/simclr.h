// SimCLR (Chen et al., "A simple framework for contrastive learning of visual representations", 2020): the two views of
// a picture find each other by their cosines among the views of all other pictures of the global batch.
#pragma once

#include "core/objective/two_views.h"
#include "core/objective/view_losses.h"

namespace tsugi {

class SimClrObjective : public TwoViews {
 public:
  SimClrObjective(ImageBatches batches, const SimClr& config)
      : TwoViews(std::move(batches), config.projection_width()), temperature_(config.temperature()) {}

  const char* name() const override { return "simclr"; }

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override {
    (void)numbers;
    return nt_xent(context, communicator, features, temperature_);
  }

 private:
  float temperature_;
};

}  // namespace tsugi

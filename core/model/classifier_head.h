// The head of a sequence classifier, as transformers' ForSequenceClassification classes have it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/nn/accuracy.h"
#include "core/nn/layers.h"

namespace tsugi {

/// Decoders: a projection of the last token's output (Radford et al. 2018, section 3.2). Encoders read the first
/// token's: BERT after its pooler (a dense layer and tanh), RoBERTa, DistilBERT and ELECTRA after a dense layer of the
/// classifier's own (tanh; ReLU; GELU); other bidirectional models, and ViT, as it is. Encoders after
/// BERT, and ViT, have biases.
class ClassifierHead {
 public:
  ClassifierHead() = default;
  /// Declares its tensors in the current unit of `store`.
  ClassifierHead(ParameterStore& store, const ModelConfig& model, int64_t labels);

  int64_t labels() const { return labels_; }
  /// Which output of a text of `length` tokens it reads.
  int64_t place(int64_t length) const { return reads_first_ ? 0 : std::max<int64_t>(length, 1) - 1; }

  /// What the projection takes: rows [R, width] of the model's outputs.
  Variable features(Tape& tape, const Variable& rows) const;
  /// Σ of the cross-entropies of features; targets i32 [R].
  LossSum loss(Tape& tape, const Variable& features, const Tensor& targets) const;
  /// Of features those whose best class is the target.
  int64_t count_right(const Context& context, const Tensor& features, const Tensor& targets) const {
    return tsugi::count_right(context, features, weight_, bias_, targets, labels_);
  }
  /// f32 [R, padded labels] of features; only the first labels() columns mean anything.
  Tensor scores(const Context& context, const Tensor& features) const;

 private:
  int64_t labels_ = 0;
  bool reads_first_ = false;
  Linear dense_;  ///< undefined weight: none
  Activation activation_ = Activation::kNone;
  Parameter weight_;
  Parameter bias_;  ///< undefined: none
};

}  // namespace tsugi

#include "core/model/classifier_head.h"

#include "core/config/families.h"
#include "core/model/names.h"
#include "core/model/transformer.h"
#include "ops/matmul/matmul.h"

namespace tsugi {
namespace {

constexpr float kClassifierDeviation = 0.02f;

}  // namespace

ClassifierHead::ClassifierHead(ParameterStore& store, const ModelConfig& model, int64_t labels)
    : labels_(labels), reads_first_(model.bidirectional()) {
  const TensorNames names = tensor_names(model);
  const int64_t padded = (labels + kVocabularyPadding - 1) / kVocabularyPadding * kVocabularyPadding;
  weight_ = store.add(names.classifier + ".weight", {labels, model.width()},
                      {Initialization::Kind::kNormal, kClassifierDeviation}, true, padded);
  if (!is_bert_like(model) && model.family() != ModelConfig::VIT) return;
  bias_ = store.add(names.classifier + ".bias", {labels}, {Initialization::Kind::kZeros}, false, padded);
  if (model.family() == ModelConfig::VIT) return;
  const bool pooler = model.family() == ModelConfig::BERT;
  activation_ = model.family() == ModelConfig::DISTILBERT ? Activation::kRelu
                : model.family() == ModelConfig::ELECTRA  ? Activation::kGelu
                                                          : Activation::kTanh;
  CHECK(!(pooler && model.pooler())) << "the classifier declares the pooler itself";
  dense_ = Linear::declare(store, {.names = {pooler ? names.pooler : names.classifier_dense},
                                   .in = model.width(),
                                   .rows = {model.width()},
                                   .deviation = kClassifierDeviation,
                                   .layout = WeightLayout::kOutIn});
}

Variable ClassifierHead::features(Tape& tape, const Variable& rows) const {
  return dense_.weight.defined() ? dense_.forward(tape, rows, activation_) : rows;
}

LossSum ClassifierHead::loss(Tape& tape, const Variable& features, const Tensor& targets) const {
  return cross_entropy_loss(tape, features, weight_, targets, labels_, {}, {}, bias_);
}

Tensor ClassifierHead::scores(const Context& context, const Tensor& features) const {
  const Tensor weight = weight_.value();
  const Tensor scores = context.empty({features.shape()[0], weight.shape()[0]}, DType::kF32);
  MatmulOptions product{.transpose_b = true};
  if (bias_.defined()) product.bias = bias_.value();
  matmul(context, features, weight, scores, product);
  return scores;
}

}  // namespace tsugi

// Families of models as presets of one architecture.
#pragma once

#include <string>
#include <vector>

#include "core/config/run.pb.h"

namespace tsugi {

/// Fills the absent fields of the architecture as the family has them. Idempotent; what is written stays.
void resolve_family(ModelConfig& model);

/// Of the encoders after Devlin et al. 2019: BERT, ROBERTA, DISTILBERT or ELECTRA.
bool is_bert_like(const ModelConfig& model);

/// An encoder and a decoder: T5.
bool has_decoder(const ModelConfig& model);

/// What cannot be built of a resolved model, each naming the field. Empty: it can.
std::vector<std::string> model_complaints(const ModelConfig& model);

/// For training that begins with the weights of `origin`, a resolved model: absent fields of `model` become its. Throws
/// Error(kUsage) naming every field that contradicts it. Dropout, windows, rotary frequencies and, without
/// learned positions, the context may differ.
void take_architecture(const ModelConfig& from, const std::string& origin, ModelConfig& model);

/// Keys and values of layer `layer` that a query sees at most, itself included; 0: all before it.
int64_t attention_window(const ModelConfig& model, int64_t layer);

}  // namespace tsugi

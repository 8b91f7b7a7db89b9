// What Hugging Face calls the parts of a family's models.
#pragma once

#include <string>

#include "core/config/run.pb.h"

namespace tsugi {

struct TensorNames {
  std::string token_table;
  std::string position_table;
  std::string blocks;  ///< block i is blocks + "i"
  std::string final_norm;
  std::string output = "lm_head";  ///< untied projection to the vocabulary

  std::string block(int64_t index) const { return blocks + std::to_string(index); }
};

inline TensorNames tensor_names(const ModelConfig& model) {
  if (model.family() == ModelConfig::GPT2) {
    return {"transformer.wte", "transformer.wpe", "transformer.h.", "transformer.ln_f"};
  }
  return {"model.embed_tokens", "", "model.layers.", "model.norm"};
}

}  // namespace tsugi

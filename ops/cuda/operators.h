// The operators of ops/*/ on a CUDA device: what stands behind DeviceOperators. Each room binds its own in
// <op>_on_cuda.cpp, which is compiled once, by the host's compiler, and linked with the CUDA runtime or its emulation.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ops/attention/attention_cuda.h"
#include "ops/base/error.h"
#include "ops/cuda/dropout_key.h"
#include "ops/cuda/objective_operators.h"
#include "ops/cuda/product_table.h"
#include "ops/cuda/runtime.h"
#include "ops/cuda/upload_ring.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"
#include "ops/tensor/context.h"
#include "ops/tensor/profile.h"
#include "ops/tensor/work_recorder.h"

namespace tsugi::cuda {

/// The address of a device tensor's elements; null if undefined.
template <class T>
T* pointer(const Tensor& tensor) {
  CHECK(!tensor.defined() || tensor.raw() == nullptr || tensor.device() == DeviceKind::kCuda)
      << "a tensor of the host among those of the device";
  return static_cast<T*>(tensor.raw());
}

/// Throws Error(kUsage): this is not built.
[[noreturn]] void refuse(const std::string& what, const std::string& hint);

/// All work goes through one stream, in the order of the calls.
class Operators final : public DeviceOperators {
 public:
  explicit Operators(AttentionKernel attention = {}) : attention_(attention) {}

  std::string describe() const override;
  int64_t busy_extent() const override;
  std::shared_ptr<Storage> allocate(size_t bytes) override;
  std::shared_ptr<Storage> allocate_host(size_t bytes) override;
  void copy_to_device(void* to, const void* from, size_t bytes) override;
  void copy_to_host(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void synchronize() override;
  std::unique_ptr<Stopwatch> start_stopwatch() override;

  void leave_loss_in(const Tensor& slot) override;

  std::string choose_algorithms(const std::string& table, const std::string& origin) override;
  void forget_algorithms() override { products_ = {}; }
  /// Instead of time_algorithms().
  void set_product_times(ProductTimes times) { product_times_ = std::move(times); }

  void matmul(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out,
              const MatmulOptions& options) override;
  void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out) override;
  void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                           const Tensor& d_out, const Tensor& d_pre) override;
  void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up,
                                const Tensor& out) override;
  void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                                 const Tensor& d_out, const Tensor& d_gate_up) override;
  void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out) override;
  void residual_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                             const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                             const Tensor& normed, const Tensor& mean, const Tensor& rstd) override;
  void residual_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& mean,
                              const Tensor& rstd, const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                              const Tensor& d_residual, const Tensor& d_branch, const Tensor& d_gamma,
                              const Tensor& d_beta) override;
  void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                      const Tensor& rstd) override;
  void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                       const Tensor& gradient, const Tensor& d_query_gamma, const Tensor& d_key_gamma) override;
  void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                         const HeadsView& v, const Dropout& dropout, const Tensor& out,
                         const Tensor& log_sum_exp) override;
  void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                          const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                          const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv,
                          const Tensor& d_relative_bias) override;
  void relative_bias_forward(const Context& context, const RelativeBuckets& buckets, const Tensor& table,
                             int64_t key_tokens, const Tensor& bias) override;
  void relative_bias_backward(const Context& context, const RelativeBuckets& buckets, const Tensor& d_bias,
                              int64_t key_tokens, const Tensor& d_table) override;
  void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                         const Tensor& position_table, int64_t first_position, const Dropout& dropout,
                         const Tensor& out) override;
  void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout, const Tensor& d_out,
                          const Tensor& d_token_table, const Tensor& d_position_table) override;
  void image_tokens(const Context& context, const Tensor& patches, const Tensor& class_token, const Tensor& positions,
                    const Tensor& out) override;
  void image_tokens_backward(const Context& context, const Tensor& d_out, const Tensor& d_patches,
                             const Tensor& d_class_token, const Tensor& d_positions) override;
  void mean_of_patches(const Context& context, const Tensor& x, const Tensor& out) override;
  void mean_of_patches_backward(const Context& context, const Tensor& d_out, const Tensor& d_x) override;
  LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight,
                               const Tensor& targets, int64_t vocabulary, const Tensor& row_loss,
                               const Tensor& d_hidden, const Tensor& d_weight,
                               const CrossEntropyOptions& options) override;
  void gather_rows(const Context& context, const Tensor& x, const Tensor& indices, const Tensor& out) override;
  void gather_rows_backward(const Context& context, const Tensor& indices, const Tensor& d_out,
                            const Tensor& d_x) override;
  void take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out) override;
  void add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale,
                      const Tensor& x) override;
  void column_sum(const Context& context, const Tensor& x, const Tensor& out) override;
  void add_in_place(const Context& context, const Tensor& a, const Tensor& b) override;
  void fill_zero(const Context& context, const Tensor& x) override;
  void convert(const Context& context, const Tensor& from, const Tensor& to) override;
  void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks,
                  const Tensor& master, const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient,
                  const Tensor& working, const Tensor& decision) override;
  void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                         const Tensor& sums) override;
  void decide_step(const Context& context, const Tensor& numbers, const StepNumberPlaces& places, float clip_norm,
                   const Tensor& decision) override;
  DeviceObjectives& objectives() override { return objectives_; }

  /// Made when work is first queued, as is whatever else needs a device: a plan does not.
  Stream& stream();

  /// What a DeviceLossSum on the device holds, which the host waits for; or zeros, see leave_loss_in().
  LossSum read_sum(const Tensor& sum);

  /// Until end_recording() the stream is captured: nothing may be copied from or to the host, which must not wait. What
  /// is recorded drops what a batch drops whose first sample is the number at `first_sample` (of the device), and is
  /// `recorded` now.
  void begin_recording(const uint64_t* first_sample, uint64_t recorded);
  void end_recording();

  DropoutKey key_of(const Dropout& dropout) const;

 private:
  /// `bytes` of the device that are free once the next call of the same operator begins.
  void* keep(Buffer& buffer, size_t bytes);
  const DeviceChunkRule* rules_of(std::span<const ChunkRule> chunks);

  struct Rules {
    std::string host;  ///< as the device has them
    Buffer device;
  };

  ObjectiveOperators objectives_{*this};
  AttentionKernel attention_;
  ProductTable products_;
  ProductTimes product_times_;
  std::optional<Stream> stream_;
  std::optional<UploadRing> uploads_;
  std::map<std::pair<const ChunkRule*, size_t>, Rules> rules_;
  Buffer adamw_;
  std::optional<DeviceAdamWStep> adamw_step_;  ///< what lies there
  Tensor loss_slot_;                           ///< undefined: the host is told
  int losses_left_ = 0;                        ///< in it
  bool recording_ = false;
  const uint64_t* recorded_sample_at_ = nullptr;  ///< of begin_recording()
  uint64_t recorded_sample_ = 0;
};

/// Why make_operators() on device `ordinal` would not do: the device is too old, or there is no library of products.
std::optional<Error> device_problem(int ordinal);
/// The operators on device `ordinal` of those that this process sees. Throws Error(kUsage) where the device cannot run
/// that kernel.
std::unique_ptr<DeviceOperators> make_operators(int ordinal, AttentionKernel attention = {});
/// The stream of what make_operators() made.
Stream& stream_of(DeviceOperators& operators);
/// For the same: records its work as CUDA graphs. Goes before the operators.
std::unique_ptr<WorkRecorder> make_recorder(DeviceOperators& operators);
/// The same for meta devices alone, which plan what a device would need: works without one.
std::unique_ptr<DeviceOperators> make_planning_operators(AttentionKernel attention = {});

}  // namespace tsugi::cuda

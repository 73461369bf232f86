#include "optim.h"

#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/lerp.h>

#include <algorithm>
#include <utility>

#include "forward.h"
#include "operands.h"

namespace gen_native {

namespace {

// Whether both tensors are dense and have the same order of entries in memory.
bool lie_alike(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_neg() || b.is_neg() || !a.is_non_overlapping_and_dense()) return false;
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) != 1 && a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

}  // namespace

void adam(const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& gradients,
          const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second, const at::Tensor& step,
          const std::optional<at::Tensor>& scale, const AdamStep& settings) {
  std::vector<at::Tensor> p, g, m, v, written;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!gradients[i].defined()) continue;
    p.push_back(parameters[i]);
    g.push_back(gradients[i]);
    m.push_back(first[i]);
    v.push_back(second[i]);
    written.insert(written.end(), {parameters[i], first[i], second[i]});
  }
  check_operands(step, scale, parameters, g, first, second);
  check_no_tangents("a step of an optimizer", step, scale, parameters, g, first, second);
  if (p.empty()) return;
  std::vector<at::Tensor> read = g;
  read.push_back(step);
  if (scale) read.push_back(*scale);
  check_exclusive(written, read);
  // The fused kernel walks raw memory, so the tensors of a parameter need one layout. Others are copied, and copied
  // back.
  std::vector<std::pair<at::Tensor, at::Tensor>> back;
  const auto laid_out = [&](at::Tensor& x, const at::Tensor& as, bool written) {
    if (lie_alike(as, x)) return;
    const at::Tensor copy = at::empty_like(as).copy_(x);
    if (written) back.emplace_back(x, copy);
    x = copy;
  };
  for (size_t i = 0; i < p.size(); ++i) {
    if (!lie_alike(p[i], p[i])) {
      const at::Tensor copy = at::empty_like(p[i], at::MemoryFormat::Contiguous).copy_(p[i]);
      back.emplace_back(p[i], copy);
      p[i] = copy;
    }
    laid_out(g[i], p[i], false);
    laid_out(m[i], p[i], true);
    laid_out(v[i], p[i], true);
  }
  // The kernel divides gradients in place, so a gradient that several parameters share would be divided repeatedly.
  if (scale && !are_exclusive(g, {})) {
    for (at::Tensor& gradient : g) gradient = gradient.clone();
  }
  const std::vector<at::Tensor> steps(p.size(), step);
  at::_fused_adamw_(p, g, m, v, {}, steps, settings.learning_rate, settings.beta1, settings.beta2,
                    settings.weight_decay, settings.epsilon, /*amsgrad=*/false, /*maximize=*/false, scale,
                    /*found_inf=*/{});
  for (const auto& [to, from] : back) to.copy_(from);
}

void lerp(const std::vector<at::Tensor>& start, const std::vector<at::Tensor>& end, double weight) {
  check_operands(start, end);
  check_no_tangents("an average in place", start, end);
  for (size_t i = 0; i < start.size(); ++i) {
    TORCH_CHECK(start[i].sizes() == end[i].sizes(), "a tensor of size ", start[i].sizes(),
                " cannot move to one of size ", end[i].sizes());
    TORCH_CHECK(start[i].scalar_type() == end[i].scalar_type(), "a tensor of kind ", start[i].scalar_type(),
                " cannot move to one of kind ", end[i].scalar_type());
  }
  check_exclusive(start, end);
  // libtorch's list function does not handle lazy negation.
  if (std::any_of(start.begin(), start.end(), [](const at::Tensor& x) { return x.is_neg(); })) {
    for (size_t i = 0; i < start.size(); ++i) start[i].lerp_(end[i], weight);
    return;
  }
  at::_foreach_lerp_(start, end, weight);
}

}  // namespace gen_native

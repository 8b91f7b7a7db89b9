"""Multinomial logistic regression of scikit-learn on made-up features: the numbers in tests/core/downstream/probe_test.cpp."""
import numpy as np
from sklearn.linear_model import LogisticRegression


def lcg(seed, count):
    values = []
    for _ in range(count):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        values.append((seed >> 11) / 2**53 * 2 - 1)
    return np.array(values)


x = lcg(41, 360).reshape(60, 6).astype(np.float32).astype(float)
y = np.arange(60) % 3
x[np.arange(60), y] += 0.75
model = LogisticRegression(C=2.0, tol=1e-12, max_iter=10000).fit(x, y)
scores = model.decision_function(x)
cross_entropy = (np.log(np.exp(scores).sum(1)) - scores[np.arange(60), y]).sum()
print("objective", cross_entropy + (model.coef_**2).sum() / 4, "accuracy", model.score(x, y),
      "difference of two weights", model.coef_[0, 0] - model.coef_[1, 0])

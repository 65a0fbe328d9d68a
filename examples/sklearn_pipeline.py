"""In a scikit-learn pipeline: memberships as features, the number of groups chosen by cross-validation."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm as bg
from bayesgmm.sklearn import GaussianMixture

iris = bg.datasets.load_iris()
X, species = iris.select_dtypes("number"), np.repeat([0, 1, 2], 50)

pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0), LogisticRegression())
search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [2, 3, 4]}, cv=3).fit(X, species)
print(search.best_params_, f"accuracy {search.best_score_:.2f}")
print(search.best_estimator_["gaussianmixture"].result_)

"""EM beside the posterior: where they agree, where not, and a report of both."""

import bayesgmm as bg

galaxies = bg.datasets.load_galaxies()
point = bg.fit(galaxies, 3, engine="em", seed=1)
posterior = bg.fit(galaxies, 3, engine=bg.Gibbs(draws=4000), seed=1, progress=False)

compared = bg.compare(point, posterior)
print(compared)
print(compared.memberships.head())
bg.report(posterior, "galaxies.html", point=point)

"""Ensembles of sub-models: one network split into small experts, and the fusion of their predictions.

`build.build_ensemble` builds one and `preview.preview_build` says what it would build; `bundle.load_ensemble` opens
the result. A new kind of network to cut sub-models out of implements `prunable.base.PrunableNetwork`; another place to
run a build on implements `runner.Runner`.
"""

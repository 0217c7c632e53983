"""The WebShop benchmark in pure Python: catalogue, goals, search, pages, shop and reward.

Source: rules, texts and file formats are those of princeton-nlp/WebShop (MIT); no code of it is used.
"""

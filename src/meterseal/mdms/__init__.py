"""Station MDMS (meter data management 量测数据管理): stores readings, judges them, proves their origin.

It opens no seal of the link (head-end) and prices nothing (utility). The public face is `service.Mdms`.
"""
